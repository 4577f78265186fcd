"""Image sizes at which an image tower can predict: any for a convolutional one, whole patches for a transformer.

A vision transformer of timm or open_clip takes other sizes than its own: its positions are resized. One that cannot, or
a size that would cut a patch in two, is refused before anything is embedded.
"""

from typing import Any

import torch
from timm.layers.format import Format
from timm.models.vision_transformer import VisionTransformer

from pipeline_lib.models.towers import ImageTower


def free_size(trunk: Any) -> None:
    """Let a timm vision transformer resize its positions to the image, as its `dynamic_img_size` does; no parameter
    changes, and nothing does at its own size.
    """
    if isinstance(trunk, VisionTransformer) and not trunk.dynamic_img_size:
        # Final to TorchScript alone; no tower is scripted here.
        setattr(trunk, "dynamic_img_size", True)  # noqa: B010
        trunk.patch_embed.strict_img_size = False
        trunk.patch_embed.flatten = False
        trunk.patch_embed.output_fmt = Format.NHWC


def patch_of(tower: ImageTower) -> int:
    """Return the side of a transformer's patches in pixels, 1 for a tower that cuts none."""
    visual = getattr(tower, "visual", tower)
    trunk = getattr(visual, "trunk", visual)
    found: Any = getattr(getattr(trunk, "patch_embed", None), "patch_size", None) or getattr(trunk, "patch_size", 1)
    return found if isinstance(found, int) else int(max(found))


def check_scale(tower: ImageTower, scale: int) -> None:
    """Raise ValueError where the tower cannot see images of `scale` pixels; it is tried on one black image."""
    patch = patch_of(tower)
    if scale % patch:
        below = max(patch, scale // patch * patch)
        raise ValueError(
            f"plan.scales = {scale}: the image tower cuts patches of {patch} pixels; write a multiple of them, "
            f"{below} or {scale // patch * patch + patch}, say"
        )
    try:
        with torch.inference_mode():
            tower.encode(torch.zeros((1, 3, scale, scale), dtype=torch.uint8))
    except (AssertionError, RuntimeError) as error:
        told = " ".join(str(error).split())[:120]
        raise ValueError(
            f"plan.scales = {scale}: the image tower takes no images of this size ({told}); write the size it was "
            "trained at, model.image.size"
        ) from error
