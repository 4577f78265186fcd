"""What an image trunk gives before its pooling: the cells of its last feature map, or the tokens of a transformer."""

from typing import Any

from torch import Tensor


def channels_first(features: Any, width: int, trunk: Any) -> Tensor:
    """Return tokens (batch, n, width) unchanged, and a map as (batch, width, rows, columns) whatever its layout.

    ValueError if the features are neither.
    """
    if not isinstance(features, Tensor) or features.ndim not in (3, 4):
        raise ValueError(f"{type(trunk).__name__} returns no feature map and no tokens")
    if features.ndim == 3:
        return features
    last = getattr(trunk, "output_fmt", "") == "NHWC" or features.shape[1] != width == features.shape[3]
    return features.permute(0, 3, 1, 2) if last else features


def channels_last(values: Tensor) -> Tensor:
    """Return maps (batch, width, rows, columns) as (batch, rows, columns, width), and other values unchanged."""
    return values.permute(0, 2, 3, 1) if values.ndim == 4 else values


def run_trunk(trunk: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return a timm model's tokens or map, channels last, and its output (batch, dim), in one forward pass.

    ValueError if the model does not pool tokens or a map.
    """
    if not hasattr(trunk, "forward_features") or not hasattr(trunk, "forward_head"):
        raise ValueError(f"{type(trunk).__name__} has no pooling as its last part")
    unpooled = trunk.forward_features(pixels)
    width = int(trunk.num_features)
    return channels_last(channels_first(unpooled, width, trunk)), trunk.forward_head(unpooled)
