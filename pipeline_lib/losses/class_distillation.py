"""Class distillation: the student's class probabilities follow the teacher's (Hinton et al. 2015, arXiv:1503.02531).

L = T^2 mean_i KL(softmax(t_i / T) || softmax(s_i / T)), with s_i the student's logits, t_i the teacher's, T the
temperature. Log probabilities may stand in for the teacher's logits: they differ by one constant a row. The factor T^2
keeps the size of the gradient independent of T. Products without a label contribute too. The target of a product mixed
with another one (mixup, cutmix) is the mixture of both teachers' probabilities, share * softmax(t_i / T) + (1 - share)
* softmax(t_j / T), as its label is the mixture of both labels.
"""

import torch
from torch import Tensor
from torch.nn import functional

from pipeline_lib.artifacts.messages import only_in
from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.teachers import DistillationTeachers, select_teachers
from pipeline_lib.params.losses import ClassDistillationParams


def class_distillation(
    logits: Tensor, teacher: Tensor, temperature: float, mixed: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Return the loss of logits against a teacher's logits or log probabilities, both (batch, classes).

    `mixed` has the teacher's values of the rows that each row is mixed with, and each row's own share (batch,).
    """
    student = (logits / temperature).log_softmax(dim=1)
    target = (teacher / temperature).log_softmax(dim=1)
    if mixed is not None:
        other, share = (mixed[0] / temperature).log_softmax(dim=1), mixed[1][:, None]
        target = torch.logaddexp(target + share.log(), other + (1 - share).log())
    return temperature**2 * functional.kl_div(student, target, log_target=True, reduction="batchmean")


class ClassDistillation:
    """Class distillation over all products of a batch, averaged over its teachers.

    ValueError if a teacher has other classes than the student.
    """

    def __init__(self, params: ClassDistillationParams, teachers: DistillationTeachers) -> None:
        self.temperature = params.temperature
        self.slices = select_teachers("class_distillation", params.teachers, teachers.teachers, "classification")
        for one in self.slices:
            _check_classes(one.teacher.name, one.teacher.classes, teachers.student_classes)

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        assert outputs.class_logits is not None and batch.teacher_classes is not None
        total = outputs.class_logits.sum() * 0.0
        for one in self.slices:
            teacher = batch.teacher_classes[:, one.columns]
            mixed = None
            if batch.mix_share is not None:
                assert batch.mixed_teacher_classes is not None
                mixed = batch.mixed_teacher_classes[:, one.columns], batch.mix_share
            total = total + one.weight * class_distillation(outputs.class_logits, teacher, self.temperature, mixed)
        return total


def _check_classes(name: str, teacher: tuple[str, ...], student: tuple[str, ...]) -> None:
    if teacher != student:
        difference = only_in(teacher, student, ("there", "here")) or "their order differs"
        raise ValueError(
            f"losses.class_distillation: the {len(teacher)} classes of teacher {name!r} are not the student's "
            f"{len(student)}: {difference}; use a teacher trained on these classes, or set the weight to 0"
        )
