"""Where the forward pass of a tower is cut, so that what enters its last layer groups can be stored."""

from collections.abc import Callable

from torch import Tensor

from pipeline_lib.models.towers import Tower, TowerSource
from pipeline_lib.stores.boundary import TowerBoundary


def why_not_pooled(name: str, source: TowerSource) -> str | None:
    """Return why a tower's output cannot be kept for a training, or None if it can.

    Early fusion pools behind a layer that is trained, and a part without pretrained weights begins anew in each run.
    """
    if source.description.get("tokens"):
        return "model.fusion = early reads tokens, which are not stored"
    if source.new:
        return f"model.{name} has parts without pretrained weights ({', '.join(source.new)}), made anew by each run"
    return None


def find_boundary(
    name: str, tower: Tower, source: TowerSource, layers: int, dry: Callable[[int], Tensor]
) -> TowerBoundary:
    """Return what is kept of a tower for `layers` groups behind (0: its output alone).

    `dry`(groups behind) runs the tower up to there on one photo, or on one text of any length.
    """
    groups, refused = tower.layer_groups(), why_not_pooled(name, source)
    pooled = refused is None
    if not layers or source.description.get("tokens"):
        return TowerBoundary(pooled, tower.dim, note=refused)
    before = {key for group in groups[: max(0, len(groups) - layers)] for key in group.parameters}
    drawn_anew = [key for key in before if source.new and key.startswith(source.new)]
    if layers >= len(groups) or not tower.boundary(layers) or drawn_anew:
        kind = type(next(tower.children())).__name__
        fault = f"{kind} cannot be left before the last {layers} of its {len(groups)} layer groups"
        return TowerBoundary(pooled, tower.dim, note=f"{fault}, so no activations are stored")
    shape = tuple(dry(layers).shape[1 if name == "image" else 2 :])
    return TowerBoundary(pooled, tower.dim, layers, groups[-layers].name, shape, refused)
