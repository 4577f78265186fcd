"""Weighted means of similarities, where the weights are a softmax of the similarities themselves; padding is masked."""

from torch import Tensor
from torch.nn import functional


def attend(similarities: Tensor, mask: Tensor, dim: int, temperature: float) -> Tensor:
    """Return sum_k softmax_k(s_k / temperature) s_k along `dim`, over the entries where `mask` is True.

    `mask` broadcasts to the similarities. It must have a True entry along `dim`, or the result is NaN.
    """
    weights = (similarities / temperature).masked_fill(~mask, float("-inf")).softmax(dim)
    return (weights * similarities.masked_fill(~mask, 0.0)).sum(dim)


def mean_frame(frames: Tensor, mask: Tensor) -> Tensor:
    """Return the unit mean of each clip's unit frames, (clips, dim), of frames (clips, frames, dim) and their mask."""
    summed = functional.normalize(frames, dim=-1).masked_fill(~mask[..., None], 0.0).sum(dim=1)
    # The sum has the direction of the mean.
    return functional.normalize(summed, dim=-1)
