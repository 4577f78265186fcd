"""What the losses of composed retrieval read: queries, targets, and which targets answer which query.

A target has one vector or several; its similarity with a query is the largest of theirs (the 32 query tokens of a
Q-Former, BLIP-2, Li et al. 2023, arXiv:2301.12597).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class ComposedPairs:
    """Unit queries (batch, dim) and targets (gallery, vectors, dim), gallery >= batch; row i is answered by target i.

    Further targets are negatives. `scale` is a scalar. `positives` (batch, gallery) bool is True for every target that
    answers the query or may do so; it is no negative. `extra` may have prompt_query (batch, dim), query_mean and
    prompt_mean (batch, width), and patches (gallery, n, dim), unit.
    """

    query: Tensor
    targets: Tensor
    scale: Tensor
    positives: Tensor | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    def as_float(self) -> "ComposedPairs":
        """Return the pairs in float32: a softmax over bf16 logits has three digits."""
        extra = {name: value.float() for name, value in self.extra.items()}
        return replace(self, query=self.query.float(), targets=self.targets.float(), extra=extra)


def similarity(queries: Tensor, targets: Tensor) -> Tensor:
    """Return (queries, targets) of queries (queries, dim) and targets (targets, vectors, dim): max over the vectors.

    >>> similarity(torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.0, 1.0], [0.6, 0.8]]]))
    tensor([[0.6000]])
    """
    count, vectors, dim = targets.shape
    products = queries @ targets.reshape(count * vectors, dim).T
    return products if vectors == 1 else products.view(len(queries), count, vectors).amax(dim=-1)


def target_cross_entropy(logits: Tensor, positives: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy of target i for row i of logits (batch, gallery); 0 for an empty batch.

    Other targets in `positives` (batch, gallery) bool are left out of the softmax.
    """
    if not len(logits):
        return logits.sum() * 0.0
    own = torch.arange(len(logits), device=logits.device)
    if positives is not None:
        others = positives.clone()
        others[own, own] = False
        logits = logits.masked_fill(others, float("-inf"))
    return torch.nn.functional.cross_entropy(logits, own)
