"""Bounds of learned scales, applied to their values after each optimizer step, as CLIP does.

A clamp in the forward pass has no gradient outside its bounds: a scale that passed one of them would never come back.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

MAX_LOG_SCALE = 4.6052  # ln 100, the bound of CLIP and Chinese-CLIP
# Name of a module's learned scale -> its lowest and its highest value. A module lists its own as `scale_bounds`.
ScaleBounds = Mapping[str, tuple[float, float]]


def bounded_scales(module: nn.Module) -> list[tuple[Tensor, tuple[float, float]]]:
    """Return the scales of a module and its submodules that are parameters, each with its bounds."""
    found = []
    for part in module.modules():
        bounds: ScaleBounds = getattr(part, "scale_bounds", {})
        found += [(getattr(part, name), span) for name, span in bounds.items() if name in part._parameters]
    return found


@torch.no_grad()
def clamp_scales(scales: list[tuple[Tensor, tuple[float, float]]]) -> None:
    """Clamp the values of scales in place; those of frozen layers stay as they are."""
    for value, (low, high) in scales:
        if value.requires_grad:
            value.clamp_(low, high)
