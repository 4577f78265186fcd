"""Image sizes that an image tower supports: any for a convolutional tower, multiples of the patch size for a ViT.

ViTs of timm and open_clip support other sizes than their own, because their position embeddings are resized. An
unsupported size is refused before a model is trained.
"""

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from pipeline_lib.towers.kinds import build_image_tower
from pipeline_lib.towers.on_meta import on_meta
from pipeline_lib.towers.probe import image_fault
from pipeline_lib.towers.tower import Description, ImageTower


def check_scales(description: Description, scales: Iterable[int]) -> None:
    """Raise ValueError for the first size of `scales`, in pixels, that an image tower does not support."""
    patch, only_size = _sizes(json.dumps(description, sort_keys=True))
    for scale in scales:
        if scale % patch and scale != only_size:
            below = max(patch, scale // patch * patch)
            raise ValueError(
                f"plan.scales = {scale}: the image tower has patches of {patch} pixels; use a multiple, "
                f"e.g. {below} or {scale // patch * patch + patch}"
            )
        if fault := image_fault({**description, "size": scale}):
            raise ValueError(
                f"plan.scales = {scale}: the image tower does not support this size ({fault}); use the size that it is "
                "trained with, model.image.size"
            )


@lru_cache(maxsize=256)
def _sizes(encoded: str) -> tuple[int, int | None]:
    """Return the patch and the only size of the tower with a description, which is JSON."""
    with on_meta():
        tower = build_image_tower(json.loads(encoded))
    return patch_of(tower), _only_size(tower)


def patch_of(tower: ImageTower) -> int:
    """Return the side of a ViT's patches in pixels, 1 for a tower without patches."""
    trunk = _trunk(tower)
    size: Any = getattr(getattr(trunk, "patch_embed", None), "patch_size", None) or getattr(trunk, "patch_size", 1)
    return size if isinstance(size, int) else int(max(size))


def _only_size(tower: ImageTower) -> int | None:
    """Return the only size that a timm ViT supports, whatever its patch; None for other towers."""
    patch_embed = getattr(_trunk(tower), "patch_embed", None)
    strict = bool(getattr(patch_embed, "strict_img_size", False))
    return max(getattr(patch_embed, "img_size", None) or (0,)) if strict else None


def _trunk(tower: ImageTower) -> Any:
    visual = getattr(tower, "visual", tower)
    return getattr(visual, "trunk", visual)
