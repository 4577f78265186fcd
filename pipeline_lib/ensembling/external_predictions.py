"""External predictions: class probabilities of the same products from other experiments, fused with this run's.

For example, one experiment trains on texts and another on photos. `vitrine keep-predictions` stores them under
data/predictions. A product must be in the same fold in both runs, and the folder `models` has the cards of the
experiment's models, so that none predicts a product it was trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from pipeline_lib.artifacts.io import read_json
from pipeline_lib.artifacts.schemas import PREDICTIONS_SCHEMA
from pipeline_lib.ensembling.galleries import GalleryMembers
from pipeline_lib.ensembling.means import Matrix
from pipeline_lib.splitting.seen import MODELS, HashedProducts, check_unseen, read_saved_models

TABLE, CLASSES = "probabilities.parquet", "classes.json"
# Files of git and DVC that may lie next to the stored experiments.
IGNORED = (".gitkeep", ".gitignore")
REMEDY = "keep predictions of a run on this catalogue and these folds"


@dataclass(frozen=True)
class ExternalPredictions:
    """One experiment's table (product_id, split, fold, probabilities), with its classes in this run's order."""

    name: str
    table: pl.DataFrame

    def rows(self, ids: Sequence[str]) -> Matrix:
        """Return the probabilities of `ids`, (ids, classes); the table must have all of them."""
        products = pl.DataFrame({"product_id": list(ids)}, schema={"product_id": pl.String})
        rows = products.join(self.table, on="product_id", how="left", maintain_order="left")
        return np.asarray(rows["probabilities"].to_numpy(), np.float32)


def open_external(root: Path, classes: Sequence[str], galleries: Sequence[GalleryMembers]) -> list[ExternalPredictions]:
    """Return the external predictions under `root`, sorted by name; none for an empty folder.

    Raises ValueError if a folder was not written by `vitrine keep-predictions`, if its classes differ from `classes`,
    or if a product of a gallery has no prediction or is in another fold there.
    """
    if not root.is_dir():
        raise ValueError(f"ensemble.fuse_with = {str(root)!r}: no such folder; `vitrine keep-predictions` creates one")
    folders = sorted(path for path in root.iterdir() if path.name not in IGNORED)
    if folders and not classes:
        raise ValueError(f"ensemble.fuse_with: {root} has class predictions, but this run's models have no classifier")
    experiments = [_open(folder, classes) for folder in folders]
    for experiment in experiments:
        for gallery in galleries:
            _check(root / experiment.name, experiment, gallery)
    return experiments


def check_models(
    root: Path, external: Sequence[ExternalPredictions], products: HashedProducts, folds: Sequence[int], allow: bool
) -> None:
    """Raise ValueError if a model behind external predictions was trained on what it predicts, unless `allow`."""
    for experiment in external:
        for fold, seen in read_saved_models(root / experiment.name / MODELS, folds).items():
            check_unseen(f"ensemble.fuse_with: {root / experiment.name}", products, fold, seen, allow)


def _open(folder: Path, classes: Sequence[str]) -> ExternalPredictions:
    for name in (TABLE, CLASSES):
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name}: no such file; `vitrine keep-predictions` writes a complete folder")
    stored = read_json(folder / CLASSES)
    if different := sorted(set(stored) ^ set(classes)):
        owner = folder if different[0] in stored else "this run"
        raise ValueError(
            f"{folder / CLASSES}: {len(stored)} classes that differ from this run's: only {owner} has {different[0]!r}"
        )
    table = pl.read_parquet(folder / TABLE)
    if lacking := sorted(PREDICTIONS_SCHEMA.keys() - set(table.columns)):
        raise ValueError(f"{folder / TABLE}: has no column {', '.join(lacking)}; run that experiment again")
    # The cast to a fixed-size array raises an error for a list whose length is not the number of classes.
    rows = table["probabilities"].cast(pl.Array(pl.Float32, len(stored))).to_numpy()
    order = [stored.index(name) for name in classes]
    ordered = pl.Series(rows[:, order], dtype=pl.Array(pl.Float32, len(order)))
    return ExternalPredictions(folder.name, table.select("product_id", "split", "fold", probabilities=ordered))


def _check(folder: Path, experiment: ExternalPredictions, gallery: GalleryMembers) -> None:
    both = gallery.products.join(experiment.table, on="product_id", how="left", maintain_order="left")
    missing = both.filter(pl.col("split").is_null())
    if missing.height:
        first = missing["product_id"][0]
        raise ValueError(f"{folder / TABLE}: no prediction for {first!r}, a product of {gallery.name}; {REMEDY}")
    moved = both.filter((pl.col("split") != gallery.split) | pl.col("fold").ne_missing(pl.lit(gallery.fold, pl.Int64)))
    if moved.height:
        product, split, fold = moved.select("product_id", "split", "fold").row(0)
        other = split if fold is None else f"{split}-{fold}"
        raise ValueError(f"{folder / TABLE}: {product!r} is in {other}, in this run in {gallery.name}; {REMEDY}")
