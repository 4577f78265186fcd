"""From the `losses` section to the losses that are on. A new loss is a file, a params class, a line here, a test."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.class_distillation import ClassDistillation
from pipeline_lib.losses.contrastive_distillation import ContrastiveDistillation
from pipeline_lib.losses.cross_entropy import CrossEntropy
from pipeline_lib.losses.feature_distillation import FeatureDistillation
from pipeline_lib.losses.hard_negatives import HardNegatives
from pipeline_lib.losses.head_alignment import HeadAlignment
from pipeline_lib.losses.info_nce import InfoNCE
from pipeline_lib.losses.memory_queue import MemoryQueue
from pipeline_lib.losses.siglip import SigLIP
from pipeline_lib.losses.teachers import DistillationTeachers
from pipeline_lib.losses.triplet import Triplet
from pipeline_lib.params.losses import LossesParams

# A plain callable, or a StatefulLoss where it learns or remembers.
Loss = Callable[[Outputs, Batch], Tensor]

# Name in params.yaml -> builder from that loss's own params; a test compares the names with LossesParams.
LOSSES: dict[str, Callable[[Any], Loss]] = {
    "info_nce": lambda params: InfoNCE(params.mask_false_negatives),
    "cross_entropy": CrossEntropy,
    "triplet": Triplet,
    "siglip": lambda params: SigLIP(params.bias, params.mask_false_negatives),
    "memory_queue": MemoryQueue,
    "hard_negatives": HardNegatives,
    "head_alignment": lambda params: HeadAlignment(params.uniformity, params.mask_false_negatives),
}
# Likewise, from that loss's own params and what is known of the teachers.
DISTILLATION: dict[str, Callable[[Any, DistillationTeachers], Loss]] = {
    "contrastive_distillation": ContrastiveDistillation,
    "feature_distillation": FeatureDistillation,
    "class_distillation": ClassDistillation,
}
# Head that a loss trains; the model has a head only if some loss that is on needs it.
LOSS_HEADS: dict[str, str] = {
    "info_nce": "retrieval",
    "cross_entropy": "classification",
    "triplet": "retrieval",
    "siglip": "retrieval",
    "memory_queue": "retrieval",
    "hard_negatives": "retrieval",
    "head_alignment": "retrieval",
    "contrastive_distillation": "retrieval",
    "feature_distillation": "retrieval",
    "class_distillation": "classification",
}


def weights_of(params: LossesParams) -> dict[str, float]:
    """Return the weight of each loss that is on; ValueError when none is."""
    found = {name: float(getattr(params, name).weight) for name in LOSS_HEADS}
    on = {name: weight for name, weight in found.items() if weight > 0}
    if not on:
        raise ValueError(f"params.yaml: every weight under losses is 0 ({', '.join(found)}); give one a weight")
    return on


def build_losses(
    params: LossesParams, names: list[str], lesson: DistillationTeachers | None = None, counts: Sequence[int] = ()
) -> dict[str, Loss]:
    """Return the named losses, ready to be called with a model's outputs and the batch.

    Some need a lesson; `counts` are the training products of each class, by which cross-entropy weighs them.
    """
    made: dict[str, Loss] = {}
    for name in names:
        if name in LOSSES:
            made[name] = LOSSES[name](getattr(params, name))
        else:
            assert lesson is not None, f"{name} learns from teachers"
            made[name] = DISTILLATION[name](getattr(params, name), lesson)
    for loss in made.values():
        if isinstance(loss, CrossEntropy):
            loss.weigh(counts)
    return made
