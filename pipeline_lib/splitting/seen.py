"""What a trained model has seen: hashes of its products, in seen.npy beside its card, which has their digests.

A product is known again by its id, or, if ids were renamed, by the bytes of its first photo (by its text if it has no
photo). Equal ids of another catalogue do not count: there, neither photos nor texts agree.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts.io import writing
from pipeline_lib.artifacts.read import read_object, read_table, reading
from pipeline_lib.splitting.places import ALWAYS_TRAIN, TEST

FILE = "seen.npy"
# The card of a trained model; and the folder of such cards, one a fold, beside the predictions of an experiment.
CARD, MODELS = "model.json", "models"
# Equal ids are the same products if at least this share of them has a photo or the text of the training products.
SAME_CATALOGUE = 0.01
WAY_OUT = (
    "use a model of these folds (split.assignment keeps folds), or write train.allow_seen: true, which metrics.json "
    "and the report then say"
)

Keys = NDArray[np.uint64]
Mask = NDArray[np.bool_]
Entry = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Seen:
    """Sorted distinct hashes of what a model, its start and its teachers have seen, each (number,).

    `ids`, `contents` (photo, or text without one) and `texts` (id with text) are those of training products. A content
    that a held-out or test product had as well, such as a logo, is left out. `held_out` and `test` are the ids of the
    products that selected its checkpoint and that it was tested on.
    """

    ids: Keys
    contents: Keys
    texts: Keys
    held_out: Keys
    test: Keys


@dataclass(frozen=True)
class HashedProducts:
    """The products of a catalogue, (products,): hashes as in Seen, 0 for no content, and fold, TEST or ALWAYS_TRAIN."""

    ids: Keys
    contents: Keys
    texts: Keys
    fold: NDArray[np.int64]


@dataclass(frozen=True)
class Overlap:
    """How many of the held-out and of the test products a model was trained on, and how many there are.

    `namesakes` are products with equal ids that are another catalogue's.
    """

    held_out: int
    num_held_out: int
    test: int
    num_test: int
    namesakes: int = 0

    def __bool__(self) -> bool:
        return self.held_out + self.test > 0

    def __str__(self) -> str:
        words = f"{self.held_out} of {self.num_held_out} held-out"
        words += f" and {self.test} of {self.num_test} test" if self.num_test else ""
        return f"{words} products"


def read_hashed_products(catalogue: Path, folds: Path) -> HashedProducts:
    """Return the hashes and places of all products of the tables of the stages catalogue and folds."""
    own = read_table(catalogue / "products.parquet", columns=["product_id", "text"])
    media = read_table(catalogue / "media.parquet", columns=["product_id", "content"])
    table = own.join(media, on="product_id", how="left", maintain_order="left").join(
        read_table(folds / "folds.parquet", columns=["product_id", "split", "fold"]),
        on="product_id",
        how="inner",
        maintain_order="left",
    )
    text = pl.when(pl.col("text") != "").then("text:" + pl.col("text"))
    content = pl.coalesce("photo:" + pl.col("content").list.first(), text)
    place = pl.when(pl.col("split") == "test").then(TEST).otherwise(pl.col("fold").fill_null(ALWAYS_TRAIN))
    columns = table.select(
        "product_id", content=content, text=pl.col("product_id") + "\0" + pl.col("text").fill_null(""), place=place
    )
    return HashedProducts(
        _hashes(columns["product_id"]),
        _hashes(columns["content"]),
        _hashes(columns["text"]),
        columns["place"].cast(pl.Int64).to_numpy(),
    )


def seen_by_run(products: HashedProducts, fold: int, earlier: Iterable[Seen | None] = ()) -> Seen:
    """Return what the model of a fold has seen; `earlier` are its start and its teachers, None for unknown ones."""
    held_out, test = products.fold == fold, products.fold == TEST
    training = ~(held_out | test)
    contents = np.setdiff1d(products.contents[training], products.contents[~training])
    known = [one for one in earlier if one is not None]
    return Seen(
        ids=_union(products.ids[training], *(one.ids for one in known)),
        contents=_union(contents[contents > 0], *(one.contents for one in known)),
        texts=_union(products.texts[training], *(one.texts for one in known)),
        held_out=np.unique(products.ids[held_out]),
        test=np.unique(products.ids[test]),
    )


def trained_on(products: HashedProducts, seen: Seen) -> tuple[Mask, int]:
    """Return which products a model was trained on, (products,), and how many only share their id with one."""
    by_id, by_content = np.isin(products.ids, seen.ids), np.isin(products.contents, seen.contents)
    agree = by_id & (by_content | np.isin(products.texts, seen.texts))
    if agree.sum() < SAME_CATALOGUE * by_id.sum():
        return by_content, int((by_id & ~by_content).sum())
    return by_id | by_content, 0


def overlap_of(products: HashedProducts, fold: int, seen: Seen) -> Overlap:
    """Return how many of the products that a fold's model is measured on another model was trained on."""
    mask, namesakes = trained_on(products, seen)
    held_out, test = products.fold == fold, products.fold == TEST
    return Overlap(
        held_out=int((mask & held_out).sum()),
        num_held_out=int(held_out.sum()),
        test=int((mask & test).sum()),
        num_test=int(test.sum()),
        namesakes=namesakes,
    )


def check_unseen(what: str, products: HashedProducts, fold: int, seen: Seen | None, allow: bool) -> str:
    """Return a line on what a trained model has seen; ValueError if it was trained on what `fold` is measured on.

    `what` names the setting and the model. With `allow` nothing is refused.
    """
    if seen is None:
        if not allow:
            raise ValueError(
                f"{what} has no hashes of the products it was trained on, so it may know what it is measured on; train "
                "and keep it again, or write train.allow_seen: true"
            )
        return f"{what}: the products it was trained on are unknown"
    overlap = overlap_of(products, fold, seen)
    if overlap and not allow:
        raise ValueError(f"{what} was trained on {overlap} that fold {fold} is measured on; {WAY_OUT}")
    others = f" ({overlap.namesakes} equal ids are those of other products)" if overlap.namesakes else ""
    return f"{what} was trained on {overlap}{others}"


def check_start(trained: Seen | None, start: Path) -> None:
    """Raise ValueError if the model in `start` was trained on products that the card of the `trained` one lacks.

    Training lists what its start has seen, so only another model put there later can have seen more.
    """
    seen = read_model_seen(start)
    ids = trained.ids if trained is not None else np.zeros(0, np.uint64)
    if seen is not None and (more := int((~np.isin(seen.ids, ids)).sum())):
        raise ValueError(
            f"embed.interpolation: {start} was trained on {more} products that the card of the trained model lacks, so "
            "training did not start from it: run `dvc repro`, or write 1.0"
        )


def seen_figures(products: HashedProducts, models: Mapping[int, Sequence[Seen | None]]) -> dict[str, dict[str, int]]:
    """Return {split: {trained_on, products}} of the splits in which a model predicts products it was trained on.

    `models` has those that predict a fold's held-out products, and at TEST further ones; all of them predict test.
    """
    test = products.fold == TEST
    held_out, seen, tested = (np.zeros(len(test), np.bool_) for _ in range(3))
    for fold, own in models.items():
        predicted = (products.fold == fold) & (fold != TEST)
        held_out |= predicted
        for mask in (trained_on(products, one)[0] for one in own if one is not None):
            seen |= mask & predicted
            tested |= mask & test
    counts = {"oof": (seen, held_out), "test": (tested, test)}
    return {
        split: {"trained_on": int(some.sum()), "products": int(all_.sum())}
        for split, (some, all_) in counts.items()
        if some.any()
    }


def model_folder(root: Path, fold: int) -> Path:
    """Return the folder of a fold's model: its subfolder if there is one, else `root`, the model of all folds."""
    return root / str(fold) if (root / str(fold)).is_dir() else root


def write_seen(folder: Path, seen: Seen) -> Entry:
    """Write seen.npy and return the entry of the card: the number of hashes of each part, and a digest of them."""
    parts = {one.name: getattr(seen, one.name).astype("<u8") for one in fields(Seen)}
    with writing(folder / FILE):
        np.save(folder / FILE, np.concatenate(list(parts.values())))
    return {name: {"count": len(keys), "digest": _digest(keys)} for name, keys in parts.items()}


def read_seen(folder: Path, entry: Entry | None) -> Seen | None:
    """Return what a card's entry and the file beside it say, None without entry; ValueError if they do not fit."""
    if entry is None:
        return None
    path = folder / FILE
    if not path.is_file():
        raise ValueError(f"{path} is missing; `vitrine keep EXPERIMENT NAME` saves a complete folder")
    names = [one.name for one in fields(Seen)]
    with reading(path):
        ends = np.cumsum([entry[name]["count"] for name in names])
        parts = dict(zip(names, np.split(np.load(path), ends[:-1]), strict=True))
        fits = all(_digest(keys) == entry[name]["digest"] for name, keys in parts.items())
    if not fits:
        raise ValueError(f"{path} does not fit the card beside it; copy the folder again")
    return Seen(**parts)


def read_model_seen(folder: Path) -> Seen | None:
    """Return what the trained model in a folder has seen, None if its card does not say."""
    return read_seen(folder, read_object(folder / CARD, run=dict)["run"].get("seen"))


def read_saved_models(root: Path, folds: Sequence[int]) -> dict[int, Seen | None]:
    """Return what the models in the subfolders 0, 1, ... of `root` have seen, by fold; ValueError if one is missing."""
    for fold in folds:
        if not (root / str(fold) / CARD).is_file():
            raise ValueError(
                f"{root / str(fold) / CARD} is missing; `vitrine keep-predictions` writes a complete folder"
            )
    return {int(path.name): read_model_seen(path) for path in sorted(root.iterdir()) if path.name.isdigit()}


def read_predicting_models(train: Path, external: Path, folds: Sequence[int]) -> dict[int, list[Seen | None]]:
    """Return by fold what the models of a run and those of the experiments it is fused with have seen.

    An experiment's predictions for test are those of all its folds. The folds that this run has not are at TEST.
    """
    others = {root: read_saved_models(root, folds) for root in sorted(external.glob(f"*/{MODELS}"))}
    predicting = {fold: [read_model_seen(train / str(fold)), *(own[fold] for own in others.values())] for fold in folds}
    further = [seen for own in others.values() for fold, seen in own.items() if fold not in folds]
    return predicting | ({TEST: further} if further else {})


def _hashes(values: pl.Series) -> Keys:
    """Return 64-bit hashes of texts, (values,), 0 for null; they are the same on every machine and in every version."""
    blake2b, none = hashlib.blake2b, bytes(8)
    keys = (none if one is None else blake2b(one.encode(), digest_size=8).digest() for one in values)
    return np.frombuffer(b"".join(keys), "<u8").astype(np.uint64)


def _union(*keys: Keys) -> Keys:
    return np.unique(np.concatenate(keys))


def _digest(keys: Keys) -> str:
    return hashlib.sha256(keys.astype("<u8").tobytes()).hexdigest()[:16]
