"""Image sizes that an image tower supports: any for a convolutional tower, multiples of the patch size for a ViT.

ViTs of timm and open_clip support other sizes than their own, because their position embeddings are resized. An
unsupported size is refused before any image is embedded.
"""

from typing import Any

import torch
from timm.layers.format import Format
from timm.models.vision_transformer import VisionTransformer

from pipeline_lib.models.towers import ImageTower


def free_size(trunk: Any) -> None:
    """Make a timm ViT resize its position embeddings to the image, as `dynamic_img_size` does.

    Its parameters, and its outputs at its own size, do not change. A ViT whose own size is no multiple of its patch
    (384 of 14) crops the rest, and keeps to this size.
    """
    if isinstance(trunk, VisionTransformer) and not trunk.dynamic_img_size and _whole_patches(trunk.patch_embed):
        # Declared final for TorchScript only, which is not used here.
        setattr(trunk, "dynamic_img_size", True)  # noqa: B010
        trunk.patch_embed.strict_img_size = False
        trunk.patch_embed.flatten = False
        trunk.patch_embed.output_fmt = Format.NHWC


def _whole_patches(patch_embed: Any) -> bool:
    return all(side % patch == 0 for side, patch in zip(patch_embed.img_size, patch_embed.patch_size, strict=True))


def patch_of(tower: ImageTower) -> int:
    """Return the side of a ViT's patches in pixels, 1 for a tower without patches."""
    visual = getattr(tower, "visual", tower)
    trunk = getattr(visual, "trunk", visual)
    size: Any = getattr(getattr(trunk, "patch_embed", None), "patch_size", None) or getattr(trunk, "patch_size", 1)
    return size if isinstance(size, int) else int(max(size))


def _is_own(tower: ImageTower, scale: int) -> bool:
    """Return whether `scale` is the only size that a timm ViT supports, whatever its patch."""
    visual = getattr(tower, "visual", tower)
    patch_embed = getattr(getattr(visual, "trunk", visual), "patch_embed", None)
    strict = bool(getattr(patch_embed, "strict_img_size", False))
    return strict and max(getattr(patch_embed, "img_size", None) or (0,)) == scale


def check_scale(tower: ImageTower, scale: int) -> None:
    """Raise ValueError if the tower does not support images of `scale` pixels, by running it on a black image."""
    patch = patch_of(tower)
    if scale % patch and not _is_own(tower, scale):
        below = max(patch, scale // patch * patch)
        raise ValueError(
            f"plan.scales = {scale}: the image tower has patches of {patch} pixels; use a multiple, "
            f"e.g. {below} or {scale // patch * patch + patch}"
        )
    try:
        with torch.inference_mode():
            tower.encode(torch.zeros((1, 3, scale, scale), dtype=torch.uint8))
    except (AssertionError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(
            f"plan.scales = {scale}: the image tower does not support this size ({reason}); use the size that it is "
            "trained with, model.image.size"
        ) from error
