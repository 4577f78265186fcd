"""Class predictions that other experiments made of the same products, to be fused with this run's.

A model of texts, say, and one of photos. `vitrine keep-predictions` puts them under data/predictions. A product must
lie in the same fold there as here, so that whatever told it, there as here, never saw it.
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

TABLE, CLASSES = "probabilities.parquet", "classes.json"
# What git and DVC may have put beside the kept experiments.
NOT_KEPT = (".gitkeep", ".gitignore")
REMEDY = "keep predictions of a run on this catalogue and these folds"


@dataclass(frozen=True)
class ExternalPredictions:
    """One experiment's table (product_id, split, fold, probabilities), its classes in this run's order."""

    name: str
    table: pl.DataFrame

    def rows(self, ids: Sequence[str]) -> Matrix:
        """Return the probabilities of `ids`, all of which are here, (ids, classes)."""
        wanted = pl.DataFrame({"product_id": list(ids)}, schema={"product_id": pl.String})
        found = wanted.join(self.table, on="product_id", how="left", maintain_order="left")
        return np.asarray(found["probabilities"].to_numpy(), np.float32)


def open_external(root: Path, classes: Sequence[str], galleries: Sequence[GalleryMembers]) -> list[ExternalPredictions]:
    """Return what is kept under `root`, by name; nothing for an empty folder.

    Raises ValueError for a folder that is none of `vitrine keep-predictions`, for other classes, and for a product
    of a gallery that was not told there, or in another fold.
    """
    if not root.is_dir():
        raise ValueError(f"ensemble.fuse_with = {str(root)!r}: no such folder; `vitrine keep-predictions` makes one")
    folders = sorted(path for path in root.iterdir() if path.name not in NOT_KEPT)
    if folders and not classes:
        raise ValueError(f"ensemble.fuse_with: {root} holds class predictions, but this run's models tell no classes")
    kept = [_open(folder, classes) for folder in folders]
    for experiment in kept:
        for gallery in galleries:
            _check(root / experiment.name, experiment, gallery)
    return kept


def _open(folder: Path, classes: Sequence[str]) -> ExternalPredictions:
    for name in (TABLE, CLASSES):
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name}: no such file; `vitrine keep-predictions` makes a whole folder")
    told = read_json(folder / CLASSES)
    if odd := sorted(set(told) ^ set(classes)):
        holder = folder if odd[0] in told else "this run"
        raise ValueError(f"{folder / CLASSES}: {len(told)} classes, not this run's: only {holder} has {odd[0]!r}")
    table = pl.read_parquet(folder / TABLE)
    if lacking := sorted(PREDICTIONS_SCHEMA.keys() - set(table.columns)):
        raise ValueError(f"{folder / TABLE}: has no column {', '.join(lacking)}; run that experiment again")
    # As an array: a list of another length than there are classes is refused by the cast.
    rows = table["probabilities"].cast(pl.Array(pl.Float32, len(told))).to_numpy()
    order = [told.index(name) for name in classes]
    ordered = pl.Series(rows[:, order], dtype=pl.Array(pl.Float32, len(order)))
    return ExternalPredictions(folder.name, table.select("product_id", "split", "fold", probabilities=ordered))


def _check(folder: Path, kept: ExternalPredictions, gallery: GalleryMembers) -> None:
    both = gallery.products.join(kept.table, on="product_id", how="left", maintain_order="left")
    missing = both.filter(pl.col("split").is_null())
    if missing.height:
        first = missing["product_id"][0]
        raise ValueError(f"{folder / TABLE}: tells nothing of {first!r}, a product of {gallery.name}; {REMEDY}")
    astray = both.filter((pl.col("split") != gallery.split) | pl.col("fold").ne_missing(pl.lit(gallery.fold, pl.Int64)))
    if astray.height:
        product, split, fold = astray.select("product_id", "split", "fold").row(0)
        there = split if fold is None else f"{split}-{fold}"
        raise ValueError(f"{folder / TABLE}: has {product!r} in {there}, this run in {gallery.name}; {REMEDY}")
