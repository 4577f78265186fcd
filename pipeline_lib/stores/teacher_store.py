"""A teacher's outputs for every photo and text on disk: a card and its stores, read while a student trains.

No model is built or imported here. Rows are looked up once at the start of training, so a missing product is found
before the first step, and a step only copies rows of memory-mapped matrices.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.read import read_json
from pipeline_lib.splitting.seen import model_folder
from pipeline_lib.stores.activations import ActivationStore, open_activations
from pipeline_lib.stores.store import FeatureStore, open_store

TEACHER_CARD = "teacher.json"
IMAGE, TEXT, CLASSES, WORDS = "image", "text", "classes", "words"
# Outputs for the mean of a product's photos, by product id; there only if a product of the catalogue has several.
MEAN = {IMAGE: "image-mean", CLASSES: "classes-mean"}
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class TeacherCard:
    """The encoder of the stores, and the meaning of their values.

    `photos` is the `photos_fingerprint` of the shards, so of how the frames of clips were sampled. `scale`: logit
    scales of text -> image and image -> text, empty without a joint space. `classes`: the columns of the store
    `classes`, which has log probabilities. `trained`: this project trained the teacher. `seen`: what the model's card
    says of the products it has seen, whose hashes lie beside this card; None for a published teacher.
    """

    encoder: str
    photos: str
    scale: tuple[float, ...]
    classes: tuple[str, ...]
    trained: bool
    seen: dict[str, Any] | None = None


@dataclass(frozen=True)
class TeacherStores:
    """A teacher's open stores for one fold; `words` has the embeddings of each text's tokens, if they are stored."""

    card: TeacherCard
    stores: dict[str, FeatureStore]
    words: ActivationStore | None = None

    @property
    def dim(self) -> int:
        """Width of the joint space, 0 without one."""
        return self.stores[IMAGE].header.dim if IMAGE in self.stores else 0


def write_card(out: Path, card: TeacherCard) -> None:
    """Write the card; it is written last, so that stores without a card are known to be incomplete."""
    part = out / f"{TEACHER_CARD}.part"
    write_json(part, asdict(card))
    part.replace(out / TEACHER_CARD)


def has_card(out: Path, encoder: str) -> bool:
    """Return whether a folder has complete stores of this encoder."""
    path = out / TEACHER_CARD
    return path.is_file() and read_json(path, TeacherCard).encoder == encoder


def open_teacher(folder: Path, fold: int, photos: str) -> TeacherStores:
    """Open a teacher's stores for one fold: those of the fold's model, or else those of the model for all folds.

    ValueError if there are neither, if they are of other photos than those of the fingerprint `photos`, or if the
    encoder of a store is not the one of the card.
    """
    source = model_folder(folder, fold)
    if not (source / TEACHER_CARD).is_file():
        folds = sorted(path.parent.name for path in folder.glob(f"*/{TEACHER_CARD}"))
        raise ValueError(
            f"{folder}: no outputs of this teacher for fold {fold}; "
            + (f"it has models of folds {', '.join(folds)} only" if folds else "run `dvc repro`")
        )
    card = read_json(source / TEACHER_CARD, TeacherCard)
    if card.photos != photos:
        raise ValueError(
            f"{source}: the outputs are of other photos, or of frames that were sampled in another way, than those in "
            f"the shards (photos {card.photos}, expected {photos}); run `dvc repro`"
        )
    names = ((IMAGE, TEXT) if card.scale else ()) + ((CLASSES,) if card.classes else ())
    names += tuple(MEAN[name] for name in names if name in MEAN and (source / MEAN[name]).is_dir())
    words = open_activations(source / WORDS, card.encoder) if (source / WORDS).is_dir() else None
    return TeacherStores(card, {name: open_store(source / name, card.encoder) for name in names}, words)
