"""The projections from the towers' features into the joint space."""

from collections.abc import Callable

from torch import nn

from pipeline_lib.params.model import ProjectorKind


def linear(in_dim: int, out_dim: int, hidden: int = 0) -> nn.Module:
    """Return a linear map without bias, as CLIP projects into the joint space."""
    layer = nn.Linear(in_dim, out_dim, bias=False)
    nn.init.normal_(layer.weight, std=in_dim**-0.5)
    return layer


def two_layers(in_dim: int, out_dim: int, hidden: int) -> nn.Module:
    """Return Linear, GELU, Linear, without bias, as open_clip's HFTextEncoder projects ("mlp")."""
    return nn.Sequential(linear(in_dim, hidden), nn.GELU(), linear(hidden, out_dim))


def nothing(in_dim: int, out_dim: int, hidden: int) -> nn.Module:
    """Return the identity; ValueError if the features are not as wide as the joint space."""
    if in_dim != out_dim:
        raise ValueError(
            f"a projector none needs features as wide as model.embedding_dim = {out_dim}, they have {in_dim}; "
            "write model.projector linear or mlp, or that width"
        )
    return nn.Identity()


# Name -> builder(in_dim, out_dim, hidden) of a module (batch, in_dim) -> (batch, out_dim).
PROJECTORS: dict[ProjectorKind, Callable[[int, int, int], nn.Module]] = {
    "linear": linear,
    "mlp": two_layers,
    "none": nothing,
}


def projections(
    kinds: dict[str, ProjectorKind], dims: dict[str, int], out_dim: int, hidden: int, shared: bool
) -> dict[str, nn.Module]:
    """Return `image_projection` and `text_projection`, or the one `projection` for both towers.

    Raises ValueError where one cannot serve both: other kinds, or features of other widths.
    """
    if not shared:
        return {f"{name}_projection": PROJECTORS[kind](dims[name], out_dim, hidden) for name, kind in kinds.items()}
    for what, found in (("kinds", kinds), ("features", dims)):
        if len(set(found.values())) > 1:
            raise ValueError(
                f"model.projector.shared = true needs equal {what} of both towers, they are "
                f"{found['image']} and {found['text']}; write model.projector.shared = false"
            )
    return {"projection": PROJECTORS[kinds["image"]](dims["image"], out_dim, hidden)}
