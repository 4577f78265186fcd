"""The teachers of a run: their stored outputs for one fold, and warnings about them.

All errors are found before the first step. The held-out fold has teacher outputs too, because `val_loss` is the loss
that is trained. seen_models.py has made sure that no teacher was trained on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline_lib.loading.products import read_photos_fingerprint
from pipeline_lib.loading.teacher_rows import TeacherRows, find_teacher_rows
from pipeline_lib.losses.build import DISTILLATION, TEACHER_OUTPUTS
from pipeline_lib.losses.coarse_distillation import reads_words
from pipeline_lib.losses.teachers import DistillationTeachers, Teacher, select_teachers
from pipeline_lib.params.heads import LOSS_HEADS
from pipeline_lib.params.losses import LossesParams
from pipeline_lib.stores.teacher_store import WORDS, TeacherStores, open_teacher
from pipeline_lib.training.fold_data import FoldData, Inputs


@dataclass(frozen=True)
class DistillationData:
    """The teachers for the losses and their rows for the batches; None if no loss that is on reads a teacher."""

    teachers: DistillationTeachers | None
    training: TeacherRows | None
    held_out: TeacherRows | None
    warnings: tuple[str, ...]


def read_distillation(
    losses: LossesParams,
    inputs: Inputs,
    fold: int,
    data: FoldData,
    description: Mapping[str, Any],
    mean_pool: bool = False,
) -> DistillationData:
    """Open the stores of the inputs' teachers that losses read; `description` is the student's model.

    With `mean_pool` the teachers' outputs are those for the mean of a product's photos.

    Raises ValueError for a loss without a teacher, and for stores that are missing, or of another model, other photos
    or another catalogue.
    """
    folders = inputs.teachers
    params = {name: getattr(losses, name) for name in DISTILLATION}
    params = {name: own for name, own in params.items() if own.weight > 0}
    if not params:
        return DistillationData(None, None, None, tuple(_unread(name) for name in folders))
    if not folders:
        raise ValueError(
            f"losses.{next(iter(params))}.weight is above 0, but plan.teachers is empty; add one to it "
            "(`vitrine keep EXPERIMENT NAME` makes data/starts/NAME), or set the weight to 0"
        )
    photos = read_photos_fingerprint(inputs.shards / "manifest.parquet")
    opened = {name: open_teacher(folder, fold, photos) for name, folder in folders.items()}
    available = {name: _teacher(name, stores) for name, stores in opened.items()}
    selected = {
        part.teacher.name
        for name, own in params.items()
        for part in select_teachers(name, own.teachers, list(available.values()), LOSS_HEADS[name])
    }
    read = [name for name in folders if name in selected]
    teachers = DistillationTeachers(
        tuple(available[name] for name in read), description["embedding_dim"], tuple(description["classes"])
    )  # fmt: skip
    stores = [opened[name] for name in read]
    warnings = [_unread(name) for name in folders if name not in selected]
    outputs = _outputs(losses, list(params))
    training, held_out = (
        find_teacher_rows(stores, part, mean_pool, outputs) for part in (data.training, data.held_out)
    )
    return DistillationData(teachers, training, held_out, tuple(warnings))


def _teacher(name: str, stores: TeacherStores) -> Teacher:
    card = stores.card
    to_image, to_text = card.scale or (1.0, 1.0)
    return Teacher(name, stores.dim, (to_image, to_text), card.classes, stores.words is not None)


def _outputs(losses: LossesParams, names: list[str]) -> set[str]:
    """Return the outputs of teachers that the named losses read."""
    outputs = {output for name in names for output in TEACHER_OUTPUTS[name]}
    if "coarse_distillation" in names and reads_words(losses.coarse_distillation):
        outputs.add(WORDS)
    return outputs


def _unread(name: str) -> str:
    return f"plan.teachers: no loss that is on reads teacher {name}; give a distillation loss a weight, or remove it"
