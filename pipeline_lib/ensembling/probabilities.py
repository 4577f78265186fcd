"""Fuses class probabilities by their arithmetic mean and writes the submission.

The mean of probabilities, not of logits: a member that is unsure then moves the result less than one that is sure,
and the result is a probability again.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.features.store import FeatureStore
from pipeline_lib.provenance import write_table

Matrix = NDArray[np.float32]


def mean_probabilities(stores: Sequence[FeatureStore], ids: Sequence[str]) -> Matrix:
    """Return the mean over the stores of the class probabilities of `ids`, (ids, classes)."""
    total = np.zeros((len(ids), stores[0].header.dim), np.float64)
    for store in stores:
        total += store.rows(ids)
    return (total / len(stores)).astype(np.float32)


def predictions_table(
    split: str, fold: int | None, products: pl.DataFrame, classes: Sequence[str], probabilities: Matrix
) -> pl.DataFrame:
    """Return PREDICTIONS_SCHEMA rows for `products` (product_id, label); equal probabilities go to the first class."""
    best = probabilities.argmax(axis=1)
    return products.select(
        "product_id",
        split=pl.lit(split),
        fold=pl.lit(fold, pl.Int64),
        label="label",
        predicted=pl.Series([classes[number] for number in best], dtype=pl.String),
        probabilities=pl.Series(probabilities, dtype=pl.Array(pl.Float32, len(classes))).arr.to_list(),
    )


def write_submission(path: Path, predictions: pl.DataFrame, test_ids: Sequence[str]) -> None:
    """Write id,label of every test product in the order of `test_ids`; ValueError if one is missing or repeated."""
    test = predictions.filter(pl.col("split") == "test").select(id="product_id", label="predicted")
    if test["id"].is_duplicated().any():
        raise ValueError(f"{path}: product {test.filter(pl.col('id').is_duplicated())['id'][0]!r} is predicted twice")
    wanted = pl.DataFrame({"id": list(test_ids)}, schema={"id": pl.String})
    missing = wanted.join(test, on="id", how="anti")
    if missing.height:
        raise ValueError(f"{path}: no prediction for {missing.height} test products, the first {missing['id'][0]!r}")
    write_table(wanted.join(test, on="id", how="left", maintain_order="left"), path)
