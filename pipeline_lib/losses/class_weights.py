"""Weights of classes in the cross-entropy, from the number of training products of each class."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipeline_lib.params.losses import ClassWeights


def equal(counts: Tensor, beta: float) -> Tensor:
    """Return 1 for each class."""
    return torch.ones_like(counts)


def balanced(counts: Tensor, beta: float) -> Tensor:
    """Return n / (K n_k), so that each of K classes has the same total weight over n products (King & Zeng 2001)."""
    return counts.sum() / (len(counts) * counts)


def effective_number(counts: Tensor, beta: float) -> Tensor:
    """Return (1 - beta) / (1 - beta^n_k), scaled to sum to K over K classes (Cui et al. 2019, arXiv:1901.05555)."""
    weights = (1 - beta) / (1 - beta**counts)
    return weights * (len(counts) / weights.sum())


# Name -> function(counts (classes,) of at least 1, beta) -> weights (classes,).
CLASS_WEIGHTS: dict[ClassWeights, Callable[[Tensor, float], Tensor]] = {
    "none": equal,
    "balanced": balanced,
    "effective_number": effective_number,
}


def class_weights(kind: ClassWeights, counts: Sequence[int], beta: float) -> Tensor:
    """Return float32 weights (classes,) from the number of products of each class; a count of 0 is taken as 1."""
    return CLASS_WEIGHTS[kind](torch.tensor(counts, dtype=torch.float64).clamp(min=1), beta).float()
