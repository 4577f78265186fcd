"""Projection heads from the towers' features into the joint embedding space."""

from collections.abc import Callable

from torch import nn

from pipeline_lib.params.model import ProjectorKind


def linear(in_dim: int, out_dim: int, hidden: int = 0) -> nn.Module:
    """Return a linear map without bias, CLIP's projection."""
    layer = nn.Linear(in_dim, out_dim, bias=False)
    nn.init.normal_(layer.weight, std=in_dim**-0.5)
    return layer


def mlp(in_dim: int, out_dim: int, hidden: int) -> nn.Module:
    """Return Linear, GELU, Linear, without bias, the "mlp" projection of open_clip's HFTextEncoder."""
    return nn.Sequential(linear(in_dim, hidden), nn.GELU(), linear(hidden, out_dim))


def identity(in_dim: int, out_dim: int, hidden: int) -> nn.Module:
    """Return the identity of features that are as wide as the joint space."""
    assert in_dim == out_dim, "projections has compared the widths"
    return nn.Identity()


# Name -> builder(in_dim, out_dim, hidden) of a module (batch, in_dim) -> (batch, out_dim).
PROJECTORS: dict[ProjectorKind, Callable[[int, int, int], nn.Module]] = {
    "linear": linear,
    "mlp": mlp,
    "none": identity,
}


def projections(
    kinds: dict[str, ProjectorKind], dims: dict[str, int], out_dim: int, hidden: int, shared: bool
) -> dict[str, nn.Module]:
    """Return `image_projection` and `text_projection`, or one shared `projection` for both towers.

    ValueError if features without a projection have another dim than the joint space, or if a projection cannot be
    shared: different kinds, or features of different dims.
    """
    _check_widths(kinds, dims, out_dim)
    if not shared:
        return {f"{name}_projection": PROJECTORS[kind](dims[name], out_dim, hidden) for name, kind in kinds.items()}
    for name, values in (("kinds", kinds), ("feature dims", dims)):
        if len(set(values.values())) > 1:
            raise ValueError(
                f"model.projector.shared = true needs equal {name} of both towers, they are "
                f"{values['image']} and {values['text']}; set model.projector.shared = false"
            )
    return {"projection": PROJECTORS[kinds["image"]](dims["image"], out_dim, hidden)}


def _check_widths(kinds: dict[str, ProjectorKind], dims: dict[str, int], out_dim: int) -> None:
    unfit = [name for name, kind in kinds.items() if kind == "none" and dims[name] != out_dim]
    if not unfit:
        return
    ways = [" and ".join(f"model.projector.{name} = linear" for name in unfit)]
    own = {dims[name] for name, kind in kinds.items() if kind == "none"}
    ways += [f"model.embedding_dim = {dim}" for dim in own if len(own) == 1]
    raise ValueError(
        f"projector none needs features of model.embedding_dim = {out_dim}, but they have {dims[unfit[0]]} dims "
        f"({unfit[0]}); set {', or '.join(ways)}"
    )
