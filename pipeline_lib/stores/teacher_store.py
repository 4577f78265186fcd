"""What a teacher said of every photo and text, on disk: a card and up to three stores, read while a student trains.

No model is built or imported here. Rows are looked up once, when a training begins, so that a product that the stores
lack is found then, and a step only copies rows of mapped matrices.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.artifacts.io import read_json, write_json
from pipeline_lib.stores.store import FeatureStore, open_store

TEACHER_CARD = "teacher.json"
IMAGE, TEXT, CLASSES = "image", "text", "classes"
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class TeacherCard:
    """Who made the stores, and what their numbers mean.

    `scale`: text -> image and image -> text, empty without a joint space; `classes`: columns of the store `classes`,
    which holds log probabilities; `trained`: this project trained the teacher.
    """

    encoder: str
    scale: tuple[float, ...]
    classes: tuple[str, ...]
    trained: bool


@dataclass(frozen=True)
class TeacherStores:
    """A teacher's open stores for one fold; `own` tells that its model never saw the fold's held-out products."""

    card: TeacherCard
    stores: dict[str, FeatureStore]
    own: bool

    @property
    def dim(self) -> int:
        """Width of the joint space, 0 without one."""
        return self.stores[IMAGE].header.dim if IMAGE in self.stores else 0


def write_card(out: Path, card: TeacherCard) -> None:
    """Write the card; it comes last, so that stores without one are known to be half."""
    half = out / f"{TEACHER_CARD}.part"
    write_json(half, asdict(card))
    half.replace(out / TEACHER_CARD)


def has_card(out: Path, encoder: str) -> bool:
    """Tell whether a folder holds whole stores of this very teacher."""
    path = out / TEACHER_CARD
    return path.is_file() and bool(read_json(path)["encoder"] == encoder)


def open_teacher(folder: Path, fold: int) -> TeacherStores:
    """Open a teacher's stores for one fold: its own if there are such, or those of the one model for all.

    ValueError where neither is there, or a store was made by another model than the card says.
    """
    own = (folder / str(fold) / TEACHER_CARD).is_file()
    place = folder / str(fold) if own else folder
    if not (place / TEACHER_CARD).is_file():
        held = sorted(path.parent.name for path in folder.glob(f"*/{TEACHER_CARD}"))
        raise ValueError(
            f"{folder}: no outputs of this teacher for fold {fold}; "
            + (f"it has models of folds {', '.join(held)} alone" if held else "run `dvc repro`")
        )
    value: dict[str, Any] = read_json(place / TEACHER_CARD)
    card = TeacherCard(value["encoder"], tuple(value["scale"]), tuple(value["classes"]), value["trained"])
    names = ((IMAGE, TEXT) if card.scale else ()) + ((CLASSES,) if card.classes else ())
    return TeacherStores(card, {name: open_store(place / name, card.encoder) for name in names}, own)
