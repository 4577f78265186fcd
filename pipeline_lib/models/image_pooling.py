"""Poolings of an image trunk's last map or tokens: those of texts, and the two attention heads that need a map.

The attention heads are timm's, as open_clip's TimmModel puts them on a trunk (`timm_pool` abs_attn, rot_attn).
"""

from collections.abc import Callable

from timm.layers.attention_pool2d import AttentionPool2d, RotAttentionPool2d
from torch import Tensor, nn

from pipeline_lib.models.pooling import TEXT_POOLING, as_tokens, pool_tokens
from pipeline_lib.params.model import ImagePoolingKind, PoolingKind

HEAD_WIDTH = 64  # of timm's attention heads
Grid = tuple[int, int]


class ImagePool(nn.Module):
    """A pooling of a trunk's output, `dim` wide."""

    def __init__(self, pool: nn.Module, dim: int) -> None:
        super().__init__()
        self.pool = pool
        self.dim = dim


class TokensPool(ImagePool):
    """A pooling of tokens, none of them masked."""

    def forward(self, features: Tensor) -> Tensor:
        """Return (batch, dim) of a map (batch, dim, height, width) or of tokens (batch, n, dim)."""
        return pool_tokens(self.pool, as_tokens(features))


class MapPool(ImagePool):
    """A pooling of a map whose cells have positions."""

    def forward(self, features: Tensor) -> Tensor:
        """Return (batch, dim) of a map (batch, width, height, width)."""
        pooled: Tensor = self.pool(features)
        return pooled


def _tokens(kind: PoolingKind) -> Callable[[int, Grid | None, int], ImagePool]:
    return lambda width, grid, out_dim: TokensPool(TEXT_POOLING[kind](width), width)


def _abs_attn(width: int, grid: Grid | None, out_dim: int) -> ImagePool:
    size = _checked("abs_attn", width, grid)
    return MapPool(AttentionPool2d(width, feat_size=size, out_features=out_dim), out_dim)


def _rot_attn(width: int, grid: Grid | None, out_dim: int) -> ImagePool:
    _checked("rot_attn", width, grid)
    return MapPool(RotAttentionPool2d(width, out_features=out_dim), out_dim)


def _checked(kind: ImagePoolingKind, width: int, grid: Grid | None) -> Grid:
    if grid is None or width % HEAD_WIDTH:
        fault = "this trunk has no map" if grid is None else f"{width} features are no multiple of {HEAD_WIDTH}"
        raise ValueError(f"model.image.pooling = {kind!r} cannot stand here: {fault}; write attentive")
    return grid


# Name -> builder(width, cells of the map or None, out_dim) of a module(map or tokens) -> (batch, its dim).
IMAGE_POOLING: dict[ImagePoolingKind, Callable[[int, Grid | None, int], ImagePool]] = {
    "mean": _tokens("mean"),
    "max": _tokens("max"),
    "gem": _tokens("gem"),
    "attentive": _tokens("attentive"),
    "abs_attn": _abs_attn,
    "rot_attn": _rot_attn,
}
