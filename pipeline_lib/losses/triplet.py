"""Triplet loss of caption retrieval, with all negatives or the hardest (VSE++, Faghri et al. 2018, arXiv:1707.05612).

With S_ij = <image_i, text_j>, d its diagonal and m the margin, over the pairs i != j that are true negatives:
L = sum max(0, m + S_ij - d_i) + sum max(0, m + S_ij - d_j). The first sum fixes the image and compares texts, the
second fixes the text and compares images. `hardest` keeps the largest term of each row and each column.
Collapsed embeddings cost 2 B (B - 1) m: with B = 64 and m = .15 that is 1,209.6.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.pairs import negatives, pairs_of
from pipeline_lib.params.losses import Reduction, TripletNegatives, TripletParams

Terms = tuple[Tensor, Tensor]


def _all(cost: Tensor, counted: Tensor, dim: int) -> Terms:
    return cost.sum(), counted.sum()


def _hardest(cost: Tensor, counted: Tensor, dim: int) -> Terms:
    return cost.amax(dim).sum(), counted.any(dim).sum()


# Name -> function(cost of each pair, which pairs count, the compared dimension) -> (sum of terms, number of terms).
NEGATIVES: dict[TripletNegatives, Callable[[Tensor, Tensor, int], Terms]] = {"all": _all, "hardest": _hardest}


def triplet(
    image: Tensor,
    text: Tensor,
    margin: float,
    negatives_kept: TripletNegatives = "all",
    reduction: Reduction = "sum",
    ignore: Tensor | None = None,
) -> Tensor:
    """Return the loss of embeddings (batch, dim), both directions; `ignore` (batch, batch) bool leaves pairs out.

    `mean` divides by the number of terms: negatives, or with `hardest` anchors that have one. No term costs 0.
    """
    if len(image) == 0:
        return image.sum() * 0.0
    similarity = image @ text.T
    positive = similarity.diagonal()
    counted = negatives(len(image), ignore, image.device)
    keep = NEGATIVES[negatives_kept]
    total, terms = similarity.new_zeros(()), torch.zeros((), dtype=torch.long, device=image.device)
    for anchor, dim in ((positive[:, None], 1), (positive[None, :], 0)):
        cost = functional.relu(margin + similarity - anchor).masked_fill(~counted, 0.0)
        kept, number = keep(cost, counted, dim)
        total, terms = total + kept, terms + number
    return total if reduction == "sum" else total / terms.clamp(min=1)


class Triplet:
    """Triplet loss over the products of a batch that have a text."""

    def __init__(self, params: TripletParams) -> None:
        self.params = params

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        params = self.params
        pairs = pairs_of(outputs, batch, params.mask_false_negatives)
        return triplet(pairs.image, pairs.text, params.margin, params.negatives, params.reduction, pairs.ignore)
