"""Poolings of an image trunk's last feature map or tokens: those of texts, and two attention poolings of maps.

The attention poolings are timm's, as in open_clip's TimmModel (`timm_pool` abs_attn, rot_attn).
"""

from collections.abc import Callable

from timm.layers.attention_pool2d import AttentionPool2d, RotAttentionPool2d
from torch import Tensor, nn

from pipeline_lib.params.model import ImagePoolingKind, PoolingKind
from pipeline_lib.towers.pooling import TEXT_POOLING, as_tokens, pool_tokens

HEAD_WIDTH = 64  # of timm's attention heads
# Height and width of a feature map, in cells.
Grid = tuple[int, int]


class ImagePool(nn.Module):
    """A pooling of a trunk's output; its result has `dim` features."""

    def __init__(self, pool: nn.Module, dim: int) -> None:
        super().__init__()
        self.pool = pool
        self.dim = dim


class TokensPool(ImagePool):
    """A pooling of tokens without a mask."""

    def forward(self, features: Tensor) -> Tensor:
        """Return (batch, dim) of a map (batch, dim, height, width) or of tokens (batch, n, dim)."""
        return pool_tokens(self.pool, as_tokens(features))


class MapPool(ImagePool):
    """A pooling of a feature map that uses the positions of its cells."""

    def forward(self, features: Tensor) -> Tensor:
        """Return (batch, dim) of a map (batch, width, height, width)."""
        pooled: Tensor = self.pool(features)
        return pooled


def _tokens(kind: PoolingKind) -> Callable[[int, Grid | None, int], ImagePool]:
    return lambda width, grid, out_dim: TokensPool(TEXT_POOLING[kind](width), width)


def _abs_attn(width: int, grid: Grid | None, out_dim: int) -> ImagePool:
    size = _check_map("abs_attn", width, grid)
    return MapPool(AttentionPool2d(width, feat_size=size, out_features=out_dim), out_dim)


def _rot_attn(width: int, grid: Grid | None, out_dim: int) -> ImagePool:
    _check_map("rot_attn", width, grid)
    return MapPool(RotAttentionPool2d(width, out_features=out_dim), out_dim)


def _check_map(kind: ImagePoolingKind, width: int, grid: Grid | None) -> Grid:
    if grid is None or width % HEAD_WIDTH:
        no_multiple = f"{width} features are not a multiple of {HEAD_WIDTH}"
        fault = "this trunk has no feature map" if grid is None else no_multiple
        raise ValueError(f"model.image.pooling = {kind!r} is not possible: {fault}; use attentive")
    return grid


# Name -> builder(width, size of the map or None, out_dim) of a module: map or tokens -> (batch, its dim).
IMAGE_POOLING: dict[ImagePoolingKind, Callable[[int, Grid | None, int], ImagePool]] = {
    "mean": _tokens("mean"),
    "max": _tokens("max"),
    "gem": _tokens("gem"),
    "attentive": _tokens("attentive"),
    "abs_attn": _abs_attn,
    "rot_attn": _rot_attn,
}
