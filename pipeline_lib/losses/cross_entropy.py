"""Cross-entropy over the labelled products of a batch, with label smoothing (Szegedy et al. 2016, arXiv:1512.00567)."""

from torch import Tensor
from torch.nn import functional

from pipeline_lib.records import Batch, Outputs

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


class CrossEntropy:
    """Cross-entropy of the classifier's logits."""

    def __init__(self, label_smoothing: float) -> None:
        self.label_smoothing = label_smoothing

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        assert outputs.class_logits is not None
        return cross_entropy(outputs.class_logits, batch.label, self.label_smoothing)
