"""Early fusion: one transformer layer, shared by both towers, that their tokens pass before pooling.

Images and texts pass it separately; an embedding of the modality is added to the tokens. So an image is embedded
without a text and can be indexed, while the weights of the layer learn from both.
"""

import torch
from torch import Tensor, nn

from pipeline_lib.params.model import PoolingKind
from pipeline_lib.towers.pooling import TEXT_POOLING, pool_tokens


class EarlyFusion(nn.Module):
    """The shared layer (pre-norm, `width` wide) with an input map, a modality embedding and a pooling for each tower.

    The input map is linear for tokens that are not `width` wide, else the identity.
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
        hidden = self.ways_in["image"](tokens) + self.modality["image"]
        return pool_tokens(self.pools["image"], self.norm(self.layer(hidden)))

    def text(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return pooled features (batch, width) of text tokens (batch, length, dim) and their mask (batch, length)."""
        hidden = self.ways_in["text"](tokens) + self.modality["text"]
        pooled: Tensor = self.pools["text"](self.norm(self.layer(hidden, src_key_padding_mask=~mask)), mask)
        return pooled
