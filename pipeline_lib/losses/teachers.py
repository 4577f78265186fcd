"""What losses know of the teachers they learn from: widths, scales, classes, and whose columns of a batch are whose.

A teacher is never in memory while a student trains: its values come with the batch, all teachers' side by side. Each
loss is the mean of what it costs against each of its teachers. For the cross-entropies this has the gradient of one
cross-entropy against the mean of the teachers' probabilities.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Teacher:
    """One teacher: width of its joint space, 0 without one; scales of text -> image and image -> text; its classes."""

    name: str
    dim: int
    scale: tuple[float, float]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class DistillationTeachers:
    """The teachers whose values a batch carries, in this order, and what the student is."""

    teachers: tuple[Teacher, ...]
    student_dim: int
    student_classes: tuple[str, ...]


@dataclass(frozen=True)
class TeacherSlice:
    """A teacher as one loss hears it: its columns of the batch's teacher fields, and its share of the mean."""

    teacher: Teacher
    columns: slice
    share: float


# Head that a loss needs -> columns that a teacher takes in the batch for it; 0 for one without that head.
WIDTHS: dict[str, Callable[[Teacher], int]] = {
    "retrieval": lambda teacher: teacher.dim,
    "classification": lambda teacher: len(teacher.classes),
}


def select_teachers(
    loss: str, asked: Mapping[str, float], teachers: Sequence[Teacher], head: str
) -> list[TeacherSlice]:
    """Return who teaches a loss, shares summing to 1: those `asked` for, or equally all that have the head.

    ValueError for a teacher that is asked for and is not there or lacks the head, and where none has it.
    """
    width = WIDTHS[head]
    known = {teacher.name: width(teacher) for teacher in teachers}
    for name in asked:
        if not known.get(name):
            fault = "has no such head" if name in known else "is none of the teachers"
            raise ValueError(
                f"losses.{loss}.teachers names {name!r}, which {fault} (of {head}: "
                f"{', '.join(one for one, columns in known.items() if columns) or 'none'}); change it or plan.features"
            )
    shares = dict(asked) or {name: 1.0 for name, columns in known.items() if columns}
    if not shares:
        raise ValueError(
            f"losses.{loss}.weight is above 0, but no teacher has a head of {head} ({', '.join(known)}); add one to "
            "plan.features, or set the weight to 0"
        )
    found, start, total = [], 0, sum(shares.values())
    for teacher in teachers:
        end = start + width(teacher)
        if teacher.name in shares:
            found.append(TeacherSlice(teacher, slice(start, end), shares[teacher.name] / total))
        start = end
    return found
