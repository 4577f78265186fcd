"""Poolings from token features (batch, length, dim) and their mask to one vector a row, (batch, dim).

Texts and images use the same modules; poolings that need a feature map are in image_pooling.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pipeline_lib.params.model import PoolingKind

SMALLEST = 1e-6  # GeM clamps features to this minimum, because it takes powers


class FunctionPool(nn.Module):
    """A pooling without parameters."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return (batch, dim) of tokens (batch, length, dim) and their mask (batch, length)."""
        return self.function(tokens, mask)


class GeMPool(nn.Module):
    """Generalised mean (mean x^p)^(1/p) over the unmasked tokens; p is learned, initially 3.

    p = 1 is the mean, a large p approaches the maximum. Source: Radenovic, Tolias, Chum 2018 (arXiv:1711.02512).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(3.0))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return (batch, dim) of tokens (batch, length, dim) and their mask (batch, length), in float32."""
        powers = tokens.float().clamp(min=SMALLEST).pow(self.p)
        pooled: Tensor = pool_mean(powers, mask).pow(1 / self.p)
        return pooled


class AttentivePool(nn.Module):
    """Weighted mean of the unmasked tokens x, with weights softmax(c . tanh(W x + b)) and learned W, b, c.

    Source: the word attention of Yang et al. 2016 (Hierarchical Attention Networks).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, width)
        self.context = nn.Linear(width, 1, bias=False)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return (batch, dim) of tokens (batch, length, dim) and their mask (batch, length)."""
        pooled: Tensor = (tokens * self.weights(tokens, mask).to(tokens.dtype).unsqueeze(-1)).sum(1)
        return pooled

    def weights(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the weights (batch, length) in float32, 0 for masked tokens; each row adds up to 1."""
        scores = self.context(torch.tanh(self.hidden(tokens))).squeeze(-1).float()
        weights: Tensor = scores.masked_fill(~mask, float("-inf")).softmax(-1)
        return weights


def pool_cls(tokens: Tensor, mask: Tensor) -> Tensor:
    """Return the first token's features (batch, dim), as BERT classifiers and Chinese-CLIP do."""
    return tokens[:, 0]


def pool_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the unmasked tokens (batch, dim); zeros for a row without any."""
    weight = mask.to(tokens.dtype).unsqueeze(-1)
    return (tokens * weight).sum(1) / weight.sum(1).clamp(min=1)


def pool_max(tokens: Tensor, mask: Tensor) -> Tensor:
    """Return each feature's maximum over the unmasked tokens (batch, dim)."""
    return tokens.masked_fill(~mask.unsqueeze(-1), float("-inf")).amax(1)


def pool_last(tokens: Tensor, mask: Tensor) -> Tensor:
    """Return the last unmasked token's features (batch, dim); padding is on the right."""
    last = mask.long().sum(1).clamp(min=1) - 1
    return tokens[torch.arange(len(tokens), device=tokens.device), last]


# Name -> builder(width) of a module(tokens, mask) -> (batch, width).
TEXT_POOLING: dict[PoolingKind, Callable[[int], nn.Module]] = {
    "cls": lambda width: FunctionPool(pool_cls),
    "mean": lambda width: FunctionPool(pool_mean),
    "max": lambda width: FunctionPool(pool_max),
    "gem": GeMPool,
    "attentive": AttentivePool,
    "last": lambda width: FunctionPool(pool_last),
}


def pool_tokens(pool: nn.Module, tokens: Tensor) -> Tensor:
    """Return (batch, dim) of tokens (batch, length, dim) without a mask, such as an image's."""
    pooled: Tensor = pool(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device))
    return pooled


def as_tokens(features: Tensor) -> Tensor:
    """Return tokens (batch, n, dim) of a feature map (batch, dim, height, width), row by row; tokens unchanged."""
    return features.flatten(2).transpose(1, 2) if features.ndim == 4 else features
