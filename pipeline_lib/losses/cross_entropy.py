"""Cross-entropy over the labelled products of a batch, with label smoothing (Szegedy et al. 2016, arXiv:1512.00567).

Options: class weights; the focal loss, which down-weights easy examples (Lin et al. 2017, arXiv:1708.02002); and the
two labels of a product mixed with another one (mixup, cutmix).
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
    """Return the mean loss of logits (batch, classes) over the labels (batch,) that are not -1; 0 if all are -1.

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

    `weights` (classes,); both results are 0 where the label is -1.
    """
    losses = functional.cross_entropy(
        logits, labels, ignore_index=UNKNOWN, label_smoothing=label_smoothing, reduction="none"
    )
    label = labels.clamp(min=0)
    weight = torch.where(labels != UNKNOWN, weights[label], 0.0)
    if gamma:
        # log p is clamped below 0: at 0 the slope of the power is infinite for gamma < 1.
        log_p = logits.log_softmax(dim=-1).gather(1, label[:, None])[:, 0].clamp(max=-1e-6)
        losses = losses * (-torch.expm1(log_p)) ** gamma
    return weight * losses, weight


class CrossEntropy:
    """Cross-entropy of the classifier's logits; `class_counts` are the training products of each class."""

    def __init__(self, params: CrossEntropyParams, class_counts: Sequence[int]) -> None:
        self.params = params
        self.weights = class_weights(params.class_weights, class_counts, params.beta)
        self.plain = params.class_weights == "none" and not params.focal_gamma

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar; with class weights the weighted mean over the labelled rows.

        For a mixed batch: mix_share * loss(label) + (1 - mix_share) * loss(mixed_label).
        """
        logits, smoothing = outputs.class_logits, self.params.label_smoothing
        assert logits is not None
        if self.plain and batch.mix_share is None:
            return cross_entropy(logits, batch.label, smoothing)
        self.weights = self.weights.to(logits.device)
        targets = [(batch.label, torch.ones(len(logits), device=logits.device))]
        if batch.mix_share is not None:
            assert batch.mixed_label is not None
            targets = [(batch.label, batch.mix_share), (batch.mixed_label, 1 - batch.mix_share)]
        total, weight = logits.new_zeros(()), logits.new_zeros(())
        for labels, share in targets:
            losses, weights = weighted_rows(logits, labels, smoothing, self.weights, self.params.focal_gamma)
            total, weight = total + (share * losses).sum(), weight + (share * weights).sum()
        return total / weight.clamp(min=1e-12)
