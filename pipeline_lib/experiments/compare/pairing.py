"""What two runs were both asked, and when a difference counts.

Two runs differ by a point for no reason often enough that a table of scores alone crowns noise. Here a run is better
only where the 95 % interval of the difference, over the same draws of what both were asked, is clear of 0.
"""

from collections.abc import Sequence

import polars as pl

# `about` is what was asked: text_to_image, image_to_text or classification.
COMPARISON_SCHEMA = {
    "split": pl.String,
    "about": pl.String,
    "metric": pl.String,
    "a": pl.Float64,
    "b": pl.Float64,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "verdict": pl.String,
}


def apart(a: pl.DataFrame, b: pl.DataFrame, key: Sequence[str]) -> tuple[int, int]:
    """Return how many rows of `key` only the first, and only the second, has."""
    return (
        a.join(b, on=key, how="anti", nulls_equal=True).height,
        b.join(a, on=key, how="anti", nulls_equal=True).height,
    )


def paired(a: pl.DataFrame, b: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Return the rows of `a` in the order of `key`, b's other columns beside them with _b behind their names."""
    return a.sort(key).join(b, on=key, how="inner", nulls_equal=True, suffix="_b", maintain_order="left")


def common_splits(a: pl.DataFrame, b: pl.DataFrame, key: Sequence[str], what: str) -> tuple[list[str], list[str]]:
    """Return the splits in which both runs were asked the same, and a line for each other one.

    One fold against three is compared on the test split, for out of fold they were asked about different products.
    """
    same, told = [], []
    for split in sorted({*a["split"], *b["split"]}):
        here = pl.col("split") == split
        missing, added = apart(a.filter(here), b.filter(here), key)
        if missing or added:
            told.append(f"{split} is left out: {missing:,} {what} only in a, {added:,} only in b")
        else:
            same.append(split)
    return same, told


def verdict(low: float, high: float, falling: bool) -> str:
    """Return who is better by the interval of b minus a of a figure, which is the better the lower where `falling`.

    >>> verdict(0.01, 0.02, falling=False), verdict(0.01, 0.02, falling=True), verdict(-0.01, 0.02, falling=True)
    ('b is better', 'a is better', 'not told apart')
    """
    if low <= 0 <= high:
        return "not told apart"
    return "b is better" if (low > 0) != falling else "a is better"
