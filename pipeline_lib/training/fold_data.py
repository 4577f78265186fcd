"""The data of one fold, read from the tables: training products, held-out products, their queries and classes."""

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.read import read_table
from pipeline_lib.loading.captions import with_answers, with_captions
from pipeline_lib.loading.products import Products, as_arrays, read_products
from pipeline_lib.splitting.trained import class_names, learned_labels, trained_by
from pipeline_lib.training.validation import HeldOutQueries, held_out_queries


@dataclass(frozen=True)
class Inputs:
    """Folders that a run reads.

    `teachers` maps a teacher's name to the stores of its outputs. `start` is the trained model that the fold starts
    from; None means the weights that `model` names.
    """

    catalogue: Path
    folds: Path
    shards: Path
    trunk: Path
    teachers: dict[str, Path] = field(default_factory=dict)
    start: Path | None = None

    def tables(self) -> list[Path]:
        """Return the files of `catalogue` and `folds` that a run reads; dvc.yaml has the same ones."""
        names = ("products", "media", "queries", "relevance")
        return [*(self.catalogue / f"{name}.parquet" for name in names), self.folds / "folds.parquet"]


@dataclass(frozen=True)
class FoldData:
    """The training and the held-out products of one fold, the held-out queries, and the classes of all products."""

    training: Products
    held_out: Products
    queries: HeldOutQueries
    classes: list[str]


def read_fold(inputs: Inputs, fold: int, classify: bool, captions: bool = False) -> FoldData:
    """Read the products of a fold; with `captions`, training products have all their texts.

    Raises ValueError if the fold has no product, or if a classifier has less than two classes.
    """
    products = read_products(inputs.catalogue, inputs.folds, inputs.shards / "manifest.parquet")
    train_split = products.filter(pl.col("split") == "train")
    held_out = train_split.filter(pl.col("fold") == fold)
    training = products.filter(trained_by(fold))
    for rows, message in ((held_out, "no product is held out"), (training, "no product is left to train on")):
        if rows.is_empty():
            folds = train_split["fold"].drop_nulls().unique().to_list()
            raise ValueError(f"fold {fold}: {message}; the products are in folds {folds}")
    classes = class_names(products) if classify else []
    if classify and len(classes) < 2:
        raise ValueError(
            f"losses.cross_entropy needs labels of at least 2 classes, the catalogue has {len(classes)}; "
            "set losses.cross_entropy.weight = 0 or data.columns.label"
        )
    # A class of the held-out fold alone cannot be learned: figures of the epochs leave it out, as those of evaluate do.
    learned = pl.when(pl.col("label").is_in(sorted(learned_labels(products, [fold])))).then(pl.col("label"))
    held_out = held_out.with_columns(learned.alias("label"))
    training_products, held_out_products = as_arrays(training, classes), as_arrays(held_out, classes)
    queries = read_table(inputs.catalogue / "queries.parquet")
    relevance = read_table(inputs.catalogue / "relevance.parquet")
    if captions:
        training_products = with_captions(training_products, queries, relevance)
    training_products = with_answers(training_products, queries, relevance)
    held_out_products = with_answers(held_out_products, queries, relevance)
    held_out_texts = held_out_queries(queries, relevance, held_out_products.ids)
    return FoldData(training_products, held_out_products, held_out_texts, classes)
