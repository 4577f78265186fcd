"""Early fusion: one transformer layer that both towers' tokens pass, before they are pooled.

Each side passes it alone, told apart by an embedding of its modality: so an image is embedded without any text, and an
index can be built, while the layer's weights are learned from both.
"""

import torch
from torch import Tensor, nn

from pipeline_lib.models.pooling import TEXT_POOLING, pool_tokens
from pipeline_lib.params.model import PoolingKind


class EarlyFusion(nn.Module):
    """The shared layer (pre-norm, `width` wide) with each side's way in, its modality's embedding, and its pooling.

    A side whose tokens are not `width` wide enters through a linear map.
    """

    def __init__(self, dims: dict[str, int], width: int, heads: int, pooling: dict[str, PoolingKind]) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"model.fusion_heads = {heads} does not divide model.embedding_dim = {width}")
        self.ways_in = nn.ModuleDict(
            {name: nn.Identity() if dim == width else nn.Linear(dim, width) for name, dim in dims.items()}
        )
        self.modality = nn.ParameterDict({name: nn.Parameter(0.02 * torch.randn(width)) for name in dims})
        self.layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(width)
        self.pools = nn.ModuleDict({name: TEXT_POOLING[kind](width) for name, kind in pooling.items()})

    def image(self, tokens: Tensor) -> Tensor:
        """Return pooled features (batch, width) of image tokens (batch, n, dim)."""
        inside = self.ways_in["image"](tokens) + self.modality["image"]
        return pool_tokens(self.pools["image"], self.norm(self.layer(inside)))

    def text(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return pooled features (batch, width) of text tokens (batch, length, dim) and their mask (batch, length)."""
        inside = self.ways_in["text"](tokens) + self.modality["text"]
        pooled: Tensor = self.pools["text"](self.norm(self.layer(inside, src_key_padding_mask=~mask)), mask)
        return pooled
