"""Coarse distillation: the student ranks the clips for a sentence, and the sentences for a clip, as a teacher does.

With S and T the scaled similarities (sentences, clips) of student and teacher,
L = mean_i [1 - r(softmax(S_i), softmax(T_i))] + mean_j [1 - r(softmax(S'_j), softmax(T'_j))], where i are rows, j are
columns, and r is the Pearson correlation (TeachCLIP, Tian et al., CVPR 2024; after DIST, Huang et al.,
arXiv:2205.10536). The teacher's similarities are computed from its stored frames, sentences and words (video_scores).
They are cosines, also of a teacher that is compared by dot products. A row in which all probabilities are equal has no
correlation: r is 0. False negatives are not masked, as in contrastive distillation.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.pairs import pairs_of, per_direction
from pipeline_lib.losses.teachers import DistillationTeachers, TeacherSlice, select_teachers, word_slices
from pipeline_lib.losses.video_scores.scores import SCORES
from pipeline_lib.params.losses import CoarseDistillationParams, VideoScore


class ScaledSimilarities(NamedTuple):
    """Similarities (sentences, clips), and the scales of text -> image and image -> text."""

    values: Tensor
    to_image: Tensor | float
    to_text: Tensor | float


def coarse_distillation(student: ScaledSimilarities, teacher: ScaledSimilarities) -> Tensor:
    """Return the loss of a student's similarities against a teacher's; 0 for fewer than 2 pairs."""
    if len(student.values) < 2:
        return student.values.sum() * 0.0
    rows = _correlations(student.to_image * student.values, teacher.to_image * teacher.values)
    columns = _correlations(student.to_text * student.values.T, teacher.to_text * teacher.values.T)
    return (1 - rows).mean() + (1 - columns).mean()


def _correlations(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the Pearson correlation of the softmax of each row, (rows,)."""
    centred = [value - value.mean(dim=1, keepdim=True) for value in (student.softmax(dim=1), teacher.softmax(dim=1))]
    one, other = (functional.normalize(value, dim=1) for value in centred)
    return (one * other).sum(dim=1)


class CoarseDistillation:
    """Coarse distillation over the products of a batch that have a text, averaged over its teachers.

    ValueError if `score` names a teacher that the loss does not read, or one without the words that its score reads.
    """

    def __init__(self, params: CoarseDistillationParams, teachers: DistillationTeachers) -> None:
        self.slices = select_teachers("coarse_distillation", params.teachers, teachers.teachers, "retrieval")
        self.scores = teacher_scores(params, [one.teacher.name for one in self.slices])
        self.words = word_slices(teachers.teachers)
        without = [name for name, score in self.scores.items() if SCORES[score].words and name not in self.words]
        if without:
            name = without[0]
            raise ValueError(
                f"losses.coarse_distillation.score.{name} = {self.scores[name]} compares words, but teacher {name!r} "
                f"has none (with words: {', '.join(self.words) or 'none'}); set features.teacher_words = true and run "
                f"`dvc repro`, or set score.{name} = mean"
            )

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        pairs = pairs_of(outputs, batch, mask_false_negatives=False)
        student = ScaledSimilarities(pairs.text @ pairs.image.T, *per_direction(pairs.scale))
        total = pairs.image.sum() * 0.0
        for one in self.slices:
            teacher = ScaledSimilarities(self.similarities(batch, one), *one.teacher.scale)
            total = total + one.weight * coarse_distillation(student, teacher)
        return total

    @torch.no_grad()
    def similarities(self, batch: Batch, one: TeacherSlice) -> Tensor:
        """Return a teacher's scores of the batch's sentences and clips that have a text, (sentences, clips)."""
        assert batch.teacher_frames is not None and batch.frame_mask is not None and batch.teacher_text is not None
        rows, score = batch.rows_with_text(), SCORES[self.scores[one.teacher.name]]
        frames, sentence = batch.teacher_frames[rows][..., one.columns], batch.teacher_text[rows][:, one.columns]
        words = word_mask = None
        if score.words:
            assert batch.teacher_words is not None and batch.teacher_word_mask is not None
            number, columns = self.words[one.teacher.name]
            words, word_mask = batch.teacher_words[rows][..., columns], batch.teacher_word_mask[rows][..., number]
        return score.score(frames, batch.frame_mask[rows], sentence, words, word_mask)


def teacher_scores(params: CoarseDistillationParams, names: list[str]) -> dict[str, VideoScore]:
    """Return the score of each teacher in `names`, `mean` by default; ValueError for a score of another name."""
    for name in params.score:
        if name not in names:
            raise ValueError(
                f"losses.coarse_distillation.score names {name!r}, which is none of the teachers that the loss reads "
                f"({', '.join(names)}); change it or plan.teachers"
            )
    return {name: params.score.get(name, "mean") for name in names}


def reads_words(params: CoarseDistillationParams) -> bool:
    """Return whether a teacher's score compares words."""
    return any(SCORES[score].words for score in params.score.values())
