"""What the losses know of the teachers: names, embedding dims, logit scales, classes, and columns of a batch.

No teacher is in memory while a student trains. Its outputs are stored and come with the batch, the columns of all
teachers side by side. A distillation loss is the weighted mean of its losses against single teachers. For the
cross-entropies this has the gradient of one cross-entropy against the mean of the teachers' probabilities.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Teacher:
    """One teacher: its embedding dim (0 without one), scales of text -> image and image -> text, and its classes.

    `words` if the embeddings of the words of each text are stored as well.
    """

    name: str
    dim: int
    scale: tuple[float, float]
    classes: tuple[str, ...]
    words: bool = False


@dataclass(frozen=True)
class DistillationTeachers:
    """The teachers whose outputs a batch carries, in this order, and the student's embedding dim and classes."""

    teachers: tuple[Teacher, ...]
    student_dim: int
    student_classes: tuple[str, ...]


@dataclass(frozen=True)
class TeacherSlice:
    """A teacher of one loss: its columns in the batch's teacher fields, and its weight in the mean over teachers."""

    teacher: Teacher
    columns: slice
    weight: float


# Head that a loss needs -> number of columns that a teacher has in the batch for it; 0 for one without that head.
COLUMNS: dict[str, Callable[[Teacher], int]] = {
    "retrieval": lambda teacher: teacher.dim,
    "classification": lambda teacher: len(teacher.classes),
}


def select_teachers(
    loss: str, weights: Mapping[str, float], teachers: Sequence[Teacher], head: str
) -> list[TeacherSlice]:
    """Return the teachers of a loss: those in `weights`, or all that have the head, with equal weights summing to 1.

    ValueError if a teacher in `weights` does not exist or lacks the head, and if no teacher has the head.
    """
    num_columns = {teacher.name: COLUMNS[head](teacher) for teacher in teachers}
    with_head = [name for name, count in num_columns.items() if count]
    for name in weights:
        if name not in with_head:
            fault = "has no such head" if name in num_columns else "is none of the teachers"
            raise ValueError(
                f"losses.{loss}.teachers names {name!r}, which {fault} (with a {head} head: "
                f"{', '.join(with_head) or 'none'}); change it or plan.teachers"
            )
    selected = dict(weights) or dict.fromkeys(with_head, 1.0)
    if not selected:
        raise ValueError(
            f"losses.{loss}.weight is above 0, but no teacher has a {head} head ({', '.join(num_columns)}); add one to "
            "plan.teachers, or set the weight to 0"
        )
    slices, start, total = [], 0, sum(selected.values())
    for teacher in teachers:
        end = start + num_columns[teacher.name]
        if teacher.name in selected:
            slices.append(TeacherSlice(teacher, slice(start, end), selected[teacher.name] / total))
        start = end
    return slices


def word_slices(teachers: Sequence[Teacher]) -> dict[str, tuple[int, slice]]:
    """Return the number of each teacher that has words, and its columns in the batch's `teacher_words`."""
    slices, start = {}, 0
    for number, teacher in enumerate(teacher for teacher in teachers if teacher.words):
        slices[teacher.name] = (number, slice(start, start + teacher.dim))
        start += teacher.dim
    return slices
