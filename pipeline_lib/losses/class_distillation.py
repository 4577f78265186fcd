"""Class distillation: the classifier's probabilities are drawn to the teacher's (Hinton et al. 2015, arXiv:1503.02531).

L = T^2 mean_i KL(softmax(t_i / T) || softmax(s_i / T)), s_i the student's logits and t_i the teacher's; their log
probabilities serve as well, being the logits less a number a row. The factor T^2 keeps the gradient's size. Products
without a label teach, too.
"""

from torch import Tensor
from torch.nn import functional

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.teachers import DistillationTeachers, select_teachers
from pipeline_lib.params.losses import ClassDistillationParams


def class_distillation(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the loss of logits against a teacher's logits or log probabilities, both (batch, classes)."""
    student = (logits / temperature).log_softmax(dim=1)
    target = (teacher / temperature).log_softmax(dim=1)
    return temperature**2 * functional.kl_div(student, target, log_target=True, reduction="batchmean")


class ClassDistillation:
    """Class distillation over all products of a batch, the mean over its teachers; ValueError for other classes."""

    def __init__(self, params: ClassDistillationParams, lesson: DistillationTeachers) -> None:
        self.temperature = params.temperature
        self.select_teachers = select_teachers("class_distillation", params.teachers, lesson.teachers, "classification")
        ours = lesson.student_classes
        for voice in self.select_teachers:
            theirs = voice.teacher.classes
            if theirs != ours:
                only = sorted(set(theirs) ^ set(ours))
                differ = f"{only[0]!r} is in one of them alone" if only else "their order differs"
                raise ValueError(
                    f"losses.class_distillation: the {len(theirs)} classes of teacher {voice.teacher.name!r} are not "
                    f"the {len(ours)} here, {differ}; take a teacher trained on these classes, or set the weight to 0"
                )

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        assert outputs.class_logits is not None and batch.teacher_classes is not None
        total = outputs.class_logits.sum() * 0.0
        for voice in self.select_teachers:
            taught = batch.teacher_classes[:, voice.columns]
            total = total + voice.share * class_distillation(outputs.class_logits, taught, self.temperature)
        return total
