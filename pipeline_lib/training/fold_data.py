"""What one fold trains on and is measured by, read from the tables."""

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from pipeline_lib.loading.captions import with_captions
from pipeline_lib.loading.products import Products, as_arrays, class_names, read_products
from pipeline_lib.training.validation import HeldOutQueries, held_out_queries


@dataclass(frozen=True)
class Inputs:
    """Folders that a run reads; `teachers`: name -> stores of its outputs."""

    catalogue: Path
    folds: Path
    shards: Path
    trunk: Path
    teachers: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class FoldData:
    """What one fold trains on and is measured by."""

    training: Products
    held_out: Products
    queries: HeldOutQueries
    classes: list[str]


def read_fold(inputs: Inputs, fold: int, classify: bool, captions: bool = False) -> FoldData:
    """Read the products of a fold, with `captions` those to train on with all their texts.

    ValueError if the fold has none, or a classifier has no classes to tell apart.
    """
    products = read_products(inputs.catalogue, inputs.folds, inputs.shards / "manifest.parquet")
    train_split = products.filter(pl.col("split") == "train")
    held_out = train_split.filter(pl.col("fold") == fold)
    training = train_split.filter((pl.col("fold") != fold) | pl.col("fold").is_null())
    for rows, what in ((held_out, "no product is held out"), (training, "no product is left to train on")):
        if rows.is_empty():
            raise ValueError(f"fold {fold}: {what}; folds made: {train_split['fold'].drop_nulls().unique().to_list()}")
    classes = class_names(products) if classify else []
    if classify and len(classes) < 2:
        raise ValueError(
            f"losses.cross_entropy needs labels of at least 2 classes, the catalogue has {len(classes)}; "
            "set losses.cross_entropy.weight = 0 or data.columns.label"
        )
    seen, arrays = as_arrays(training, classes), as_arrays(held_out, classes)
    asked = pl.read_parquet(inputs.catalogue / "queries.parquet")
    relevance = pl.read_parquet(inputs.catalogue / "relevance.parquet")
    if captions:
        seen = with_captions(seen, asked, relevance)
    return FoldData(seen, arrays, held_out_queries(asked, relevance, arrays.ids), classes)
