"""Contrastive distillation: the student's similarities of a batch are drawn to the teacher's, as distributions.

With S = scale * image @ text.T of the student and T likewise of the teacher, each with its own scale,
L = 1/2 mean_i [-sum_j softmax_j(T_ij) log softmax_j(S_ij)] + 1/2 of the same over S', T' (text against images): the
distillation term of open_clip's DistillClipLoss (CLIP-KD calls it CRD; Yang et al. 2023, arXiv:2307.12732).
Widths of student and teacher need not agree. There is no mask for false negatives: the teacher's distribution itself
says how alike equal or near texts are, and a mask would take just that away.
"""

from torch import Tensor
from torch.nn import functional

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.pairs import pairs_of, per_direction
from pipeline_lib.losses.teachers import DistillationTeachers, select_teachers
from pipeline_lib.params.losses import ContrastiveDistillationParams


def contrastive_distillation(
    image: Tensor,
    text: Tensor,
    scale: Tensor,
    teacher_image: Tensor,
    teacher_text: Tensor,
    teacher_scale: tuple[float, float],
) -> Tensor:
    """Return the loss of embeddings (batch, dim) against a teacher's (batch, its dim); an empty batch costs 0.

    `scale` is a scalar, or (2,) for text -> image and image -> text, as `teacher_scale` always is.
    """
    if len(image) == 0:
        return image.sum() * 0.0
    to_image, to_text = per_direction(scale)
    taught_image, taught_text = teacher_scale
    target = taught_text * teacher_image @ teacher_text.T
    target_back = taught_image * teacher_text @ teacher_image.T
    there = functional.cross_entropy(to_text * image @ text.T, target.softmax(dim=1))
    back = functional.cross_entropy(to_image * text @ image.T, target_back.softmax(dim=1))
    return (there + back) / 2


class ContrastiveDistillation:
    """Contrastive distillation over the products of a batch that have a text, the mean over its teachers."""

    def __init__(self, params: ContrastiveDistillationParams, lesson: DistillationTeachers) -> None:
        self.select_teachers = select_teachers(
            "contrastive_distillation", params.teachers, lesson.teachers, "retrieval"
        )

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        assert batch.teacher_image is not None and batch.teacher_text is not None
        pairs = pairs_of(outputs, batch, mask_false_negatives=False)
        image, text = batch.teacher_image[batch.has_text], batch.teacher_text[batch.has_text]
        total = pairs.image.sum() * 0.0
        for voice in self.select_teachers:
            taught = image[:, voice.columns], text[:, voice.columns], voice.teacher.scale
            total = total + voice.share * contrastive_distillation(pairs.image, pairs.text, pairs.scale, *taught)
        return total
