"""From the `losses` section to the losses with a weight above 0.

To add a loss: a file here, a class in params/losses.py, a line in LOSSES and in LOSS_HEADS of params/heads.py, and a
test.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.class_distillation import ClassDistillation
from pipeline_lib.losses.coarse_distillation import CoarseDistillation
from pipeline_lib.losses.contrastive_distillation import ContrastiveDistillation
from pipeline_lib.losses.cross_entropy import CrossEntropy
from pipeline_lib.losses.feature_distillation import FeatureDistillation
from pipeline_lib.losses.frame_distillation import FrameDistillation
from pipeline_lib.losses.hard_negatives import HardNegatives
from pipeline_lib.losses.head_alignment import HeadAlignment
from pipeline_lib.losses.info_nce import InfoNCE
from pipeline_lib.losses.memory_queue import MemoryQueue
from pipeline_lib.losses.siglip import SigLIP
from pipeline_lib.losses.teachers import DistillationTeachers
from pipeline_lib.losses.triplet import Triplet
from pipeline_lib.params.losses import LossesParams

# A plain callable, or a StatefulLoss if it has parameters or a memory.
Loss = Callable[[Outputs, Batch], Tensor]

# Name in params.yaml -> builder(that loss's params, training products of each class); a test compares the names with
# LossesParams.
LOSSES: dict[str, Callable[[Any, Sequence[int]], Loss]] = {
    "info_nce": lambda params, _: InfoNCE(params.mask_false_negatives),
    "cross_entropy": CrossEntropy,
    "triplet": lambda params, _: Triplet(params),
    "siglip": lambda params, _: SigLIP(params.bias, params.mask_false_negatives),
    "memory_queue": lambda params, _: MemoryQueue(params),
    "hard_negatives": lambda params, _: HardNegatives(params),
    "head_alignment": lambda params, _: HeadAlignment(params.uniformity, params.mask_false_negatives),
}
# Losses that learn from teachers: name -> builder(that loss's params, teachers).
DISTILLATION: dict[str, Callable[[Any, DistillationTeachers], Loss]] = {
    "contrastive_distillation": ContrastiveDistillation,
    "feature_distillation": FeatureDistillation,
    "class_distillation": ClassDistillation,
    "coarse_distillation": CoarseDistillation,
    "frame_distillation": FrameDistillation,
}
# Outputs of teachers that each of these losses reads; the first also `words`, if a score compares them.
TEACHER_OUTPUTS: dict[str, tuple[str, ...]] = {
    "contrastive_distillation": ("image", "text"),
    "feature_distillation": ("image", "text"),
    "class_distillation": ("classes",),
    "coarse_distillation": ("frames", "text"),
    "frame_distillation": ("frames", "text"),
}


def build_losses(
    params: LossesParams,
    names: Sequence[str],
    teachers: DistillationTeachers | None = None,
    class_counts: Sequence[int] = (),
) -> dict[str, Loss]:
    """Return the named losses as functions of a model's outputs and the batch.

    Distillation losses need `teachers`. `class_counts`, the training products of each class, set the class weights of
    the cross-entropy.
    """
    losses: dict[str, Loss] = {}
    for name in names:
        if name in LOSSES:
            losses[name] = LOSSES[name](getattr(params, name), class_counts)
        else:
            assert teachers is not None, f"{name} needs teachers"
            losses[name] = DISTILLATION[name](getattr(params, name), teachers)
    return losses
