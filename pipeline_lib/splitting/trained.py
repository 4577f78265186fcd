"""What the model of a fold is trained on: all products of train but those that the fold holds out.

Tables of products with their folds have the columns split (train | test) and fold, null for products that the models of
all folds are trained on.
"""

from collections.abc import Sequence

import polars as pl


def trained_by(fold: int) -> pl.Expr:
    """Return whether the model of a fold is trained on a product."""
    return (pl.col("split") == "train") & pl.col("fold").ne_missing(pl.lit(fold, pl.Int64))


def learned_labels(products: pl.DataFrame, folds: Sequence[int]) -> set[str]:
    """Return the labels of products (label, split, fold) that the model of one of the folds is trained on.

    >>> rows = {"label": ["cup", "hat", "pan", None], "split": ["train", "train", "test", "train"]}
    >>> sorted(learned_labels(pl.DataFrame(rows | {"fold": [0, None, None, 1]}), [0]))
    ['hat']
    """
    known = products.drop_nulls("label")
    return {label for fold in folds for label in known.filter(trained_by(fold))["label"].unique()}


def class_names(products: pl.DataFrame) -> list[str]:
    """Return the sorted labels of products (label, split) that occur outside the test split: a classifier's classes."""
    known = products.filter((pl.col("split") != "test") & pl.col("label").is_not_null())
    return sorted(known["label"].unique().to_list())
