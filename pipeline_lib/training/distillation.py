"""What a run learns from teachers: which stores it opens, for which fold, and what is wrong with them.

All faults are found before the first step. The held-out fold is priced against the teachers too: `val_loss` is the loss
that is trained. A teacher with a model a fold never saw that fold; of another one, that was trained here, a line warns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_lib.loading.teacher_rows import TeacherRows, find_teacher_rows
from pipeline_lib.losses.build import DISTILLATION, LOSS_HEADS
from pipeline_lib.losses.teachers import DistillationTeachers, Teacher, select_teachers
from pipeline_lib.params.losses import LossesParams
from pipeline_lib.stores.teacher_store import TeacherStores, open_teacher
from pipeline_lib.training.fold_data import FoldData


@dataclass(frozen=True)
class DistillationData:
    """The lesson for losses and the rows for batches, None where no loss that is on reads a teacher."""

    lesson: DistillationTeachers | None
    training: TeacherRows | None
    held_out: TeacherRows | None
    warnings: tuple[str, ...]


def read_distillation(
    losses: LossesParams, teachers: Mapping[str, Path], fold: int, data: FoldData, description: Mapping[str, Any]
) -> DistillationData:
    """Open the stores of the teachers (name -> folder) that losses read; `description` is the student's model.

    ValueError for a loss without a teacher, and for stores that are missing, foreign, or of another catalogue.
    """
    asked = {name: getattr(losses, name) for name in DISTILLATION}
    asked = {name: params for name, params in asked.items() if params.weight > 0}
    if not asked:
        return DistillationData(None, None, None, tuple(_unread(name) for name in teachers))
    if not teachers:
        raise ValueError(
            f"losses.{next(iter(asked))}.weight is above 0, but plan.features names no teacher; add one to it "
            "(`vitrine keep EXPERIMENT NAME` makes data/starts/NAME), or set the weight to 0"
        )
    opened = {name: open_teacher(folder, fold) for name, folder in teachers.items()}
    known = {name: _teacher(name, stores) for name, stores in opened.items()}
    heard = {
        voice.teacher.name
        for name, params in asked.items()
        for voice in select_teachers(name, params.teachers, list(known.values()), LOSS_HEADS[name])
    }
    read = [name for name in teachers if name in heard]
    lesson = DistillationTeachers(
        tuple(known[name] for name in read), description["embedding_dim"], tuple(description["classes"])
    )  # fmt: skip
    stores = [opened[name] for name in read]
    warnings = [_unread(name) for name in teachers if name not in heard]
    warnings += [_leak(name, fold) for name in read if opened[name].card.trained and not opened[name].own]
    return DistillationData(
        lesson, find_teacher_rows(stores, data.training), find_teacher_rows(stores, data.held_out), tuple(warnings)
    )


def _teacher(name: str, stores: TeacherStores) -> Teacher:
    card = stores.card
    to_image, to_text = card.scale or (1.0, 1.0)
    return Teacher(name, stores.dim, (to_image, to_text), card.classes)


def _unread(name: str) -> str:
    return f"plan.features: no loss that is on reads teacher {name}; give a distillation loss a weight, or take it out"


def _leak(name: str, fold: int) -> str:
    return (
        f"plan.features: teacher {name} has one trained model for all folds; if it saw fold {fold}, which is held out "
        "here, out-of-fold figures are flattered. Keep an experiment with a model a fold"
    )
