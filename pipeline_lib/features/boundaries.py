"""The boundary of a tower: before which layer group its activations can be stored, and whether its output can be."""

from collections.abc import Callable

from torch import Tensor

from pipeline_lib.stores.boundary import TowerBoundary
from pipeline_lib.towers.joint_space import why_not_pooled
from pipeline_lib.towers.tower import ImageTower, Tower, TowerSource

# Largest difference of a tower's two forward passes, relative to its largest value, that is rounding.
TOLERANCE = 1e-4


def find_boundary(
    name: str, tower: Tower, source: TowerSource, layers: int, run_prefix: Callable[[int], Tensor]
) -> TowerBoundary:
    """Return what can be stored of a tower if its last `layers` groups are trained (0: its output only).

    `run_prefix(number of suffix groups)` returns the activations of one photo, or of one text of any length.
    """
    groups, not_pooled = tower.layer_groups(), why_not_pooled(name, source)
    pooled = not_pooled is None
    if not layers or source.description.get("tokens"):
        return TowerBoundary(pooled, tower.dim, note=not_pooled)
    prefix = {key for group in groups[: max(0, len(groups) - layers)] for key in group.parameters}
    initialized = [key for key in prefix if source.new and key.startswith(source.new)]
    if layers >= len(groups) or not tower.boundary(layers) or initialized:
        kind = type(next(tower.children())).__name__
        reason = f"{kind} has no boundary before the last {layers} of its {len(groups)} layer groups"
        return TowerBoundary(pooled, tower.dim, note=f"{reason}, so no activations are stored")
    shape = tuple(run_prefix(layers).shape[1 if name == "image" else 2 :])
    return TowerBoundary(pooled, tower.dim, layers, groups[-layers].name, shape, not_pooled)


def find_pooling(tower: ImageTower, source: TowerSource, pixels: Tensor) -> TowerBoundary:
    """Return what can be stored of an image tower if the tokens, or cells of a map, that it pools are to be.

    The pass that gives them must give the tower's features as well; `pixels` are random photos that try it.
    """
    not_pooled = why_not_pooled("image", source)
    kind = type(next(tower.children())).__name__
    if source.description.get("tokens"):
        return TowerBoundary(not_pooled is None, tower.dim, note=not_pooled)
    try:
        tokens, features = tower.encode_tokens(pixels)
    except ValueError as error:
        return TowerBoundary(not_pooled is None, tower.dim, note=f"{kind} gives no tokens to store ({error})")
    expected = tower.encode(pixels)
    if features.shape != expected.shape or (features - expected).abs().max() > TOLERANCE * expected.abs().max():
        return TowerBoundary(not_pooled is None, tower.dim, note=f"{kind} pools other values than its tokens")
    shape = tuple(tokens.shape[1:])
    return TowerBoundary(not_pooled is None, tower.dim, 0, "pooling", shape, not_pooled, tokens=True)
