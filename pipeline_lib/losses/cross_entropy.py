"""Cross-entropy over the labelled products of a batch, with label smoothing (Szegedy et al. 2016, arXiv:1512.00567).

Classes may be weighted, products that are told well may count less (focal loss, Lin et al. 2017, arXiv:1708.02002), and
a product blended with another has both labels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.class_weights import class_weights
from pipeline_lib.params.losses import CrossEntropyParams

UNKNOWN = -1


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return the mean loss of logits (batch, classes) over labels (batch,) that are not -1; 0 where none is known.

    With smoothing e and K classes: -(1 - e) log p_label - e / K * sum_k log p_k.
    """
    known = labels != UNKNOWN
    total = functional.cross_entropy(
        logits, labels, ignore_index=UNKNOWN, label_smoothing=label_smoothing, reduction="sum"
    )
    return total / known.sum().clamp(min=1)


def weighted_rows(
    logits: Tensor, labels: Tensor, label_smoothing: float, weights: Tensor, gamma: float
) -> tuple[Tensor, Tensor]:
    """Return w_label (1 - p_label)^gamma times the smoothed cross-entropy of each row, and w_label, both (batch,).

    Both are 0 for a label of -1.
    """
    losses = functional.cross_entropy(
        logits, labels, ignore_index=UNKNOWN, label_smoothing=label_smoothing, reduction="none"
    )
    label = labels.clamp(min=0)
    weight = torch.where(labels != UNKNOWN, weights[label], 0.0)
    if gamma:
        # log p is kept below 0, where the slope of the power is finite for a gamma below 1.
        log_p = logits.log_softmax(dim=-1).gather(1, label[:, None])[:, 0].clamp(max=-1e-6)
        losses = losses * (-torch.expm1(log_p)) ** gamma
    return weight * losses, weight


class CrossEntropy:
    """Cross-entropy of the classifier's logits; with class weights it must hear the counts of `weigh` first."""

    def __init__(self, params: CrossEntropyParams) -> None:
        self.params = params
        self.weights: Tensor | None = None
        self.plain = params.class_weights == "none" and not params.focal_gamma

    def weigh(self, counts: Sequence[int]) -> None:
        """Take the number of training products of each class."""
        self.weights = class_weights(self.params.class_weights, counts, self.params.beta)

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar: of a batch that is blended, share * loss(label) + (1 - share) * loss(other label).

        With weights it is the weighted mean over the labelled rows.
        """
        logits, smoothing = outputs.class_logits, self.params.label_smoothing
        assert logits is not None
        if self.plain and batch.mix_share is None:
            return cross_entropy(logits, batch.label, smoothing)
        assert self.weights is not None, "weigh() comes first"
        self.weights = self.weights.to(logits.device)
        of = [(batch.label, torch.ones(len(logits), device=logits.device))]
        if batch.mix_share is not None:
            assert batch.mixed_label is not None
            of = [(batch.label, batch.mix_share), (batch.mixed_label, 1 - batch.mix_share)]
        total, weight = logits.new_zeros(()), logits.new_zeros(())
        for labels, share in of:
            losses, weights = weighted_rows(logits, labels, smoothing, self.weights, self.params.focal_gamma)
            total, weight = total + (share * losses).sum(), weight + (share * weights).sum()
        return total / weight.clamp(min=1e-12)
