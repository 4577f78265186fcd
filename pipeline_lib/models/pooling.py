"""From token features (batch, length, dim) and their mask to one vector a text (batch, dim)."""

from collections.abc import Callable

from torch import Tensor


def pool_cls(tokens: Tensor, mask: Tensor) -> Tensor:
    """Return the first token's features (batch, dim), as BERT classifiers and Chinese-CLIP do."""
    return tokens[:, 0]


def pool_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the unmasked tokens (batch, dim); zeros where there is none."""
    weight = mask.to(tokens.dtype).unsqueeze(-1)
    return (tokens * weight).sum(1) / weight.sum(1).clamp(min=1)


# Name -> function(tokens, mask) -> (batch, dim).
TEXT_POOLING: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cls": pool_cls, "mean": pool_mean}
