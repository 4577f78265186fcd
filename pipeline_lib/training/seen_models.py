"""What a run's start and its teachers were trained on, checked before it loads anything."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts.read import read_object
from pipeline_lib.losses.build import DISTILLATION
from pipeline_lib.params.heads import LOSS_HEADS
from pipeline_lib.params.losses import LossesParams
from pipeline_lib.splitting.seen import (
    Seen,
    check_unseen,
    model_folder,
    overlap_of,
    read_hashed_products,
    read_model_seen,
    read_seen,
    seen_by_run,
)
from pipeline_lib.stores.teacher_store import TEACHER_CARD
from pipeline_lib.training.fold_data import Inputs
from pipeline_lib.training.run_start import InitialWeights, RunConfig

# The part of a teacher's card that is empty if the teacher lacks a head.
HEAD_IN_CARD = {"retrieval": "scale", "classification": "classes"}


@dataclass(frozen=True)
class SeenByRun:
    """What the model of a run will have seen, lines on the models it builds on, and warnings of what was allowed."""

    seen: Seen
    lines: tuple[str, ...]
    warnings: tuple[str, ...]

    def with_weights(self, initial: InitialWeights) -> list[str]:
        """Return the lines, and one on published weights, of which nothing can be known."""
        loaded = initial.towers.items() if initial.folder is None else ()
        names = [name for name, source in loaded if source.state is not None]
        unknown = f"published weights ({', '.join(names)}): the products they were trained on are unknown"
        return [*self.lines, *([unknown] if names else [])]


def check_seen(config: RunConfig, inputs: Inputs, fold: int) -> SeenByRun:
    """Return what a run's model will have seen; ValueError if its start or a teacher was trained on held-out or test.

    With train.allow_seen nothing is refused.
    """
    products = read_hashed_products(inputs.catalogue, inputs.folds)
    models = [(f"train.init_from: {inputs.start}", read_model_seen(inputs.start))] if inputs.start else []
    lines, warnings = [], []
    for name, folder, card in _teachers(config.losses, inputs, fold):
        if card["trained"]:
            models.append((f"plan.teachers: {name}", read_seen(folder, card["seen"])))
        else:
            lines.append(f"plan.teachers: {name} is published: the products it was trained on are unknown")
    for what, seen in models:
        line = check_unseen(what, products, fold, seen, config.train.allow_seen)
        if seen is None or overlap_of(products, fold, seen):
            warnings.append(f"{line} (train.allow_seen)")
        else:
            lines.append(line)
    return SeenByRun(seen_by_run(products, fold, [seen for _, seen in models]), tuple(lines), tuple(warnings))


def _teachers(losses: LossesParams, inputs: Inputs, fold: int) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """Yield name, folder of stores and card of the teachers that a loss reads; training names those without stores."""
    params = {name: getattr(losses, name) for name in DISTILLATION}
    on = [(one.teachers, HEAD_IN_CARD[LOSS_HEADS[name]]) for name, one in params.items() if one.weight > 0]
    for name, root in inputs.teachers.items():
        folder = model_folder(root, fold)
        if (folder / TEACHER_CARD).is_file():
            card = read_object(folder / TEACHER_CARD, encoder=str, scale=list, classes=list)
            if any(name in shares or (not shares and card[part]) for shares, part in on):
                yield name, folder, card
