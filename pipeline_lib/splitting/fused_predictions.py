"""Class predictions of other experiments, named by ensemble.fuse_with: whether they fit this run's classes and folds.

Fusion compares them where it reads them, after training. `refused_predictions` compares them as soon as there are a
catalogue and folds, so that a folder of another catalogue costs no training.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import polars as pl

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.messages import only_in
from pipeline_lib.artifacts.read import read_json, read_table, reading
from pipeline_lib.artifacts.schemas import PREDICTIONS_SCHEMA
from pipeline_lib.params.ensemble import EnsembleParams
from pipeline_lib.params.heads import trained_heads
from pipeline_lib.params.losses import LossesParams
from pipeline_lib.params.phases import LAST, PhasesParams, train_params
from pipeline_lib.params.plan import PlanParams
from pipeline_lib.params.section import parse_section
from pipeline_lib.params.train import TrainParams
from pipeline_lib.splitting.trained import class_names

TABLE, CLASSES = "probabilities.parquet", "classes.json"
# Files of git and DVC that may lie next to the stored experiments.
IGNORED = (".gitkeep", ".gitignore")
REMEDY = "keep predictions of a run on this catalogue and these folds"


def experiment_folders(root: Path) -> list[Path]:
    """Return the folders of the stored experiments, sorted by name."""
    return sorted(path for path in root.iterdir() if path.name not in IGNORED)


def check_classifier(root: Path, folders: Collection[Path], classes: Collection[str]) -> None:
    """Raise ValueError if there is something to fuse, and the run's models predict no classes."""
    if folders and not classes:
        raise ValueError(f"ensemble.fuse_with: {root} has class predictions, but this run's models have no classifier")


def read_stored(folder: Path, classes: Collection[str]) -> tuple[list[str], pl.DataFrame]:
    """Return the classes of an experiment in their order, and its products (product_id, split, fold).

    Raises ValueError if the folder is incomplete, or if its classes are not those of this run.
    """
    for name in (TABLE, CLASSES):
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name}: no such file; `vitrine keep-predictions` writes a complete folder")
    stored = read_json(folder / CLASSES, list[str])
    if different := only_in(stored, classes, ("there", "in this run")):
        raise ValueError(
            f"{folder / CLASSES}: its {len(stored)} classes are not the {len(classes)} of this run: {different}; "
            f"{REMEDY}"
        )
    with reading(folder / TABLE):
        found = pl.scan_parquet(folder / TABLE).collect_schema()
    if lacking := sorted(PREDICTIONS_SCHEMA.keys() - set(found)):
        raise ValueError(f"{folder / TABLE}: has no column {', '.join(lacking)}; run that experiment again")
    return stored, read_table(folder / TABLE, ["product_id", "split", "fold"])


def check_products(folder: Path, stored: pl.DataFrame, products: pl.DataFrame) -> None:
    """Raise ValueError if a product of this run has no prediction, or is in another fold there.

    Both tables have product_id, split (oof | test) and fold, null for test.
    """
    both = products.join(stored, on="product_id", how="left", maintain_order="left", suffix="_there")
    missing = both.filter(pl.col("split_there").is_null())
    if missing.height:
        product, split, fold = missing.select("product_id", "split", "fold").row(0)
        raise ValueError(
            f"{folder / TABLE}: no prediction for {product!r}, a product of {_gallery(split, fold)}; {REMEDY}"
        )
    moved = both.filter((pl.col("split") != pl.col("split_there")) | pl.col("fold").ne_missing(pl.col("fold_there")))
    if moved.height:
        product, *places = moved.select("product_id", "split_there", "fold_there", "split", "fold").row(0)
        there, here = _gallery(*places[:2]), _gallery(*places[2:])
        raise ValueError(f"{folder / TABLE}: {product!r} is in {there}, in this run in {here}; {REMEDY}")


def _gallery(split: str, fold: int | None) -> str:
    return split if fold is None else f"{split}-{fold}"


def refused_predictions(params: dict[str, Any], project: Path = Path()) -> str | None:
    """Return the line with which fusion would stop after training, by the catalogue and the folds; None without one.

    None, too, for a folder that is not there, which other checks name.
    """
    root = Path(parse_section(EnsembleParams, params).fuse_with)
    folders = experiment_folders(project / root) if (project / root).is_dir() else []
    if not folders:
        return None
    labels = read_table(project / paths.CATALOGUE / "products.parquet", ["product_id", "label"])
    products = labels.join(read_table(project / paths.FOLDS / "folds.parquet"), on="product_id", how="inner")
    folds, is_test = parse_section(PlanParams, params).folds, pl.col("split") == "test"
    measured = products.filter(is_test | pl.col("fold").is_in(folds)).select(
        "product_id", pl.when(is_test).then(pl.lit("test")).otherwise(pl.lit("oof")).alias("split"), "fold"
    )
    classes = class_names(products) if _has_classifier(params) else []
    try:
        check_classifier(root, folders, classes)
        for folder in folders:
            check_products(folder, read_stored(folder, classes)[1], measured)
    except ValueError as error:
        return str(error)
    return None


def _has_classifier(params: dict[str, Any]) -> bool:
    changes = parse_section(PhasesParams, params).train
    train = train_params(parse_section(TrainParams, params), changes, LAST)
    return "classification" in trained_heads(parse_section(LossesParams, params), train)
