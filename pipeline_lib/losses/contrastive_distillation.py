"""Contrastive distillation: the student's image-text similarities follow the teacher's, as distributions over a batch.

With S = scale * image @ text.T of the student, and T the same of the teacher with its own scale,
L = 1/2 mean_i [-sum_j softmax_j(T_ij) log softmax_j(S_ij)] + 1/2 of the same over S', T' (text against images).
This is the distillation term of open_clip's DistillClipLoss (CRD in CLIP-KD; Yang et al. 2023, arXiv:2307.12732).
The embedding dims of student and teacher may differ. False negatives are not masked: the teacher's distribution
already gives a high probability to similar texts, and a mask would remove exactly that signal.
"""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.pairs import pairs_of, per_direction
from pipeline_lib.losses.teachers import DistillationTeachers, select_teachers
from pipeline_lib.params.losses import ContrastiveDistillationParams


@dataclass(frozen=True)
class TeacherPairs:
    """A teacher's embeddings of matched pairs, (batch, dim), and its scales of text -> image and image -> text."""

    image: Tensor
    text: Tensor
    scale: tuple[float, float]


def contrastive_distillation(image: Tensor, text: Tensor, scale: Tensor, teacher: TeacherPairs) -> Tensor:
    """Return the loss of embeddings (batch, dim) against a teacher's; 0 for an empty batch.

    `scale` is a scalar, or (2,) for text -> image and image -> text.
    """
    if len(image) == 0:
        return image.sum() * 0.0
    to_image, to_text = per_direction(scale)
    teacher_to_image, teacher_to_text = teacher.scale
    target_texts = (teacher_to_text * teacher.image @ teacher.text.T).softmax(dim=1)
    target_images = (teacher_to_image * teacher.text @ teacher.image.T).softmax(dim=1)
    image_to_text = functional.cross_entropy(to_text * image @ text.T, target_texts)
    text_to_image = functional.cross_entropy(to_image * text @ image.T, target_images)
    return (image_to_text + text_to_image) / 2


class ContrastiveDistillation:
    """Contrastive distillation over the products of a batch that have a text, averaged over its teachers."""

    def __init__(self, params: ContrastiveDistillationParams, teachers: DistillationTeachers) -> None:
        self.slices = select_teachers("contrastive_distillation", params.teachers, teachers.teachers, "retrieval")

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        assert batch.teacher_image is not None and batch.teacher_text is not None
        pairs = pairs_of(outputs, batch, mask_false_negatives=False)
        image, text = batch.teacher_image[batch.has_text], batch.teacher_text[batch.has_text]
        total = pairs.image.sum() * 0.0
        for one in self.slices:
            teacher = TeacherPairs(image[:, one.columns], text[:, one.columns], one.teacher.scale)
            total = total + one.weight * contrastive_distillation(pairs.image, pairs.text, pairs.scale, teacher)
        return total
