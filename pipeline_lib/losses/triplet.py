"""Triplet loss of image-text retrieval with all or the hardest negatives (VSE++, Faghri et al. 2018, arXiv:1707.05612).

With S_ij = <image_i, text_j>, d its diagonal and m the margin, over the pairs i != j that are not false negatives:
L = sum max(0, m + S_ij - d_i) + sum max(0, m + S_ij - d_j). The anchor of the first sum is an image, that of the second
a text. `hardest` uses only the largest term of each row and each column.
If all embeddings are equal, L = 2 B (B - 1) m: 1,209.6 for B = 64 and m = .15.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.pairs import negatives, pairs_of
from pipeline_lib.params.losses import Reduction, TripletNegatives, TripletParams

Terms = tuple[Tensor, Tensor]


def _all(hinge: Tensor, negative: Tensor, dim: int) -> Terms:
    return hinge.sum(), negative.sum()


def _hardest(hinge: Tensor, negative: Tensor, dim: int) -> Terms:
    return hinge.amax(dim).sum(), negative.any(dim).sum()


# Name -> function(hinge of each pair, which pairs are negatives, dim to compare) -> (sum of terms, number of terms).
TRIPLET_MINERS: dict[TripletNegatives, Callable[[Tensor, Tensor, int], Terms]] = {"all": _all, "hardest": _hardest}


def triplet(
    image: Tensor,
    text: Tensor,
    margin: float,
    mining: TripletNegatives = "all",
    reduction: Reduction = "sum",
    ignore: Tensor | None = None,
) -> Tensor:
    """Return the loss of embeddings (batch, dim) in both directions; 0 without any negative.

    Pairs in `ignore` (batch, batch) bool are excluded. `mean` divides by the number of terms: all negatives, or with
    `hardest` the anchors that have a negative.
    """
    if len(image) == 0:
        return image.sum() * 0.0
    similarity = image @ text.T
    positive = similarity.diagonal()
    negative = negatives(len(image), ignore, image.device)
    miner = TRIPLET_MINERS[mining]
    total, terms = similarity.new_zeros(()), torch.zeros((), dtype=torch.long, device=image.device)
    for anchor, dim in ((positive[:, None], 1), (positive[None, :], 0)):
        hinge = functional.relu(margin + similarity - anchor).masked_fill(~negative, 0.0)
        subtotal, count = miner(hinge, negative, dim)
        total, terms = total + subtotal, terms + count
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
