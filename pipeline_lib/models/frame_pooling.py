"""From the features of a clip's frames, or of a product's photos, to one vector: a temporal transformer and attention.

The transformer tells the order of the frames, the attention which of them count: a_t = W2 relu(W1 f_t + b1) + b2, and
the clip is sum_t softmax_t(a / temperature) f_t (TeachCLIP, Tian et al. 2024; the transformer is CLIP4Clip's, Luo et
al. 2021, arXiv:2104.08860, on normalised frames). Both start as the plain mean, so that a pretrained pair starts
unchanged. Without either, no module is built.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline_lib.models.content import mean_of_photos
from pipeline_lib.params.model import FramePoolingKind, FramePoolingParams
from pipeline_lib.towers.weights import State

# Standard deviation of the initial positions. Frames are normalised to 1; with 0.02 the order is learned later.
POSITION_STD = 0.2
# Start of the names of a pooling's tensors in a model.
PREFIX = "frames."


@dataclass(frozen=True)
class PooledFrames:
    """Features of products (products, dim), and of each photo its weight and its attention logit, both (photos,).

    Weights are those of the temperature and sum to 1 in each product; `weights` and `logits` are None for a mean.
    """

    features: Tensor
    weights: Tensor | None = None
    logits: Tensor | None = None


@dataclass(frozen=True)
class FramePoolingConfig:
    """The key `frames` of a model's description."""

    pooling: FramePoolingKind
    layers: int
    heads: int
    max_frames: int
    temperature: float


def describe_frames(params: FramePoolingParams) -> dict[str, Any] | None:
    """Return the description of a frame pooling as JSON values, None for the plain mean, which has no parameters."""
    return params.model_dump() if params.trained else None


def has_frames(state: State) -> bool:
    """Return whether a model's state has tensors of a frame pooling."""
    return any(name.startswith(PREFIX) for name in state)


def without_frames(state: State) -> State:
    """Return the tensors of a model's state without those of its frame pooling."""
    return {name: value for name, value in state.items() if not name.startswith(PREFIX)}


def mask_of(num_photos: Tensor) -> Tensor:
    """Return bool (products, most photos of a product), True where a product has a photo; `num_photos` (products,).

    >>> mask_of(torch.tensor([1, 2])).int().tolist()
    [[1, 0], [1, 1]]
    """
    places = torch.arange(int(num_photos.max()) if len(num_photos) else 0, device=num_photos.device)
    return places < num_photos[:, None]


class FrameAttention(nn.Sequential):
    """Logits (..., 1) of frames (..., dim): Linear, ReLU, Linear; 263,169 parameters at 512."""

    def __init__(self, dim: int) -> None:
        super().__init__(nn.Linear(dim, dim), nn.ReLU(), last := nn.Linear(dim, 1))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)


class TemporalTransformer(nn.Module):
    """Frames (products, frames, dim) plus what a transformer over them with learned positions gives.

    The frames are normalised first: positions that are added to large features are learned too slowly to be used.
    """

    def __init__(self, dim: int, layers: int, heads: int, max_frames: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"model.frames.heads = {heads} does not divide {dim}, the width of the image features")
        self.norm_in, self.norm_out = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.pos_embed = nn.Parameter(POSITION_STD * torch.randn(max_frames, dim))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                dim, heads, 4 * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.out = nn.Linear(dim, dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Return frames of the same shape; `mask` (products, frames) is False for padding, which is not attended to.

        ValueError for more frames than positions.
        """
        count, most = mask.shape[1], len(self.pos_embed)
        if count > most:
            raise ValueError(
                f"a product has {count} photos or frames, but model.frames.max_frames = {most}; raise it, and train "
                "again"
            )
        hidden = self.norm_in(frames) + self.pos_embed[:count]
        for layer in self.layers:
            hidden = layer(hidden, src_key_padding_mask=~mask)
        change: Tensor = self.out(self.norm_out(hidden))
        return frames + change


class FramePooling(nn.Module):
    """One vector a product from the features of its photos; see the module docstring."""

    def __init__(self, dim: int, config: FramePoolingConfig) -> None:
        super().__init__()
        temporal = TemporalTransformer(dim, config.layers, config.heads, config.max_frames) if config.layers else None
        self.temporal = temporal
        self.attention = FrameAttention(dim) if config.pooling == "attention" else None
        self.temperature = config.temperature

    def forward(self, features: Tensor, mask: Tensor) -> PooledFrames:
        """Pool features (photos, dim), one product after another, in float32; `mask` is that of `mask_of`."""
        counts, frames = mask.sum(dim=1), features.float()
        # No value is read from the device: the number of frames is that of the mask.
        product = torch.repeat_interleave(counts, output_size=len(frames))
        place = torch.arange(len(frames), device=frames.device) - (counts.cumsum(0) - counts)[product]
        if self.temporal is not None:
            padded = frames.new_zeros(*mask.shape, frames.shape[1]).index_put((product, place), frames)
            frames = self.temporal(padded, mask)[product, place].float()
        if self.attention is None:
            return PooledFrames(mean_of_photos(frames, counts))
        logits = self.attention(frames).squeeze(-1).float()
        scores = logits.new_full(mask.shape, -torch.inf).index_put((product, place), logits / self.temperature)
        weights = scores.softmax(dim=1)[product, place]
        pooled = frames.new_zeros(len(mask), frames.shape[1]).index_add(0, product, weights[:, None] * frames)
        return PooledFrames(pooled, weights, logits)
