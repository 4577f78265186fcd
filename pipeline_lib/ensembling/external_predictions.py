"""External predictions: class probabilities of the same products from other experiments, fused with this run's.

For example, one experiment trains on texts and another on photos. `vitrine keep-predictions` stores them under
data/predictions. A product must be in the same fold in both runs, and the folder `models` has the cards of the
experiment's models, so that none predicts a product it was trained on.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile, gettempdir

import numpy as np
import polars as pl

from pipeline_lib.artifacts.io import block_rows, writing
from pipeline_lib.artifacts.read import reading
from pipeline_lib.ensembling.galleries import GalleryMembers
from pipeline_lib.ensembling.means import Matrix
from pipeline_lib.splitting.fused_predictions import (
    TABLE,
    check_classifier,
    check_products,
    experiment_folders,
    read_stored,
)
from pipeline_lib.splitting.seen import MODELS, HashedProducts, check_unseen, read_saved_models


@dataclass(frozen=True)
class ExternalPredictions:
    """One experiment's table (product_id, split, fold), and its probabilities (rows, classes) in this run's order.

    The matrix is mapped from an unnamed temporary file, since the table stores a row as a list, and products elsewhere.
    """

    name: str
    table: pl.DataFrame
    matrix: Matrix

    def rows(self, ids: Sequence[str]) -> Matrix:
        """Return the probabilities of `ids`, (ids, classes); the table must have all of them."""
        products = pl.DataFrame({"product_id": list(ids)}, schema={"product_id": pl.String})
        numbered = self.table.with_row_index("row")
        rows = products.join(numbered, on="product_id", how="left", maintain_order="left")["row"]
        return np.asarray(self.matrix[rows.to_numpy()])


def open_external(root: Path, classes: Sequence[str], galleries: Sequence[GalleryMembers]) -> list[ExternalPredictions]:
    """Return the external predictions under `root`, sorted by name; none for an empty folder.

    Raises ValueError if a folder was not written by `vitrine keep-predictions`, if its classes differ from `classes`,
    or if a product of a gallery has no prediction or is in another fold there.
    """
    if not root.is_dir():
        raise ValueError(f"ensemble.fuse_with = {str(root)!r}: no such folder; `vitrine keep-predictions` creates one")
    folders = experiment_folders(root)
    check_classifier(root, folders, classes)
    experiments = [_open(folder, classes) for folder in folders]
    for experiment in experiments:
        for gallery in galleries:
            place = pl.lit(gallery.split).alias("split"), pl.lit(gallery.fold, pl.Int64).alias("fold")
            check_products(root / experiment.name, experiment.table, gallery.products.select("product_id", *place))
    return experiments


def check_models(
    root: Path, external: Sequence[ExternalPredictions], products: HashedProducts, folds: Sequence[int], allow: bool
) -> None:
    """Raise ValueError if a model behind external predictions was trained on what it predicts, unless `allow`."""
    for experiment in external:
        for fold, seen in read_saved_models(root / experiment.name / MODELS, folds).items():
            check_unseen(f"ensemble.fuse_with: {root / experiment.name}", products, fold, seen, allow)


def _open(folder: Path, classes: Sequence[str]) -> ExternalPredictions:
    stored, products = read_stored(folder, classes)
    order = [stored.index(name) for name in classes]
    return ExternalPredictions(folder.name, products, _mapped(folder / TABLE, products.height, order))


def _mapped(path: Path, count: int, order: Sequence[int]) -> Matrix:
    """Return the probabilities of a table (count, classes) with its columns in `order`, copied block by block."""
    if not count:
        return np.zeros((0, len(order)), np.float32)
    with writing(Path(gettempdir())), TemporaryFile() as file:
        # Allocate the disk space now: a full disk under a mapped page would kill the process by a signal.
        os.posix_fallocate(file.fileno(), 0, 4 * count * len(order))
        matrix = np.memmap(file, np.float32, "r+", shape=(count, len(order)))
    step = block_rows(len(order))
    for start in range(0, count, step):
        with reading(path):
            rows = pl.scan_parquet(path).slice(start, step).select("probabilities").collect()["probabilities"]
            # The cast to a fixed-size array raises an error for a list whose length is not the number of classes.
            block = rows.cast(pl.Array(pl.Float32, len(order))).to_numpy()
        matrix[start : start + step] = block[:, order]
    return matrix
