"""Pairs the rows of two runs, and decides when a difference counts.

Two runs often differ by a point for no reason, so a table of scores alone declares noise the winner. Here a run is
better only if the 95 % interval of the difference, over the rows of both, excludes 0.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from pipeline_lib.evaluation.jackknife import Difference
from pipeline_lib.metrics import ranking
from pipeline_lib.metrics.weighted import Statistic, point

# `task` is text_to_image, image_to_text, composed_KIND, composed_KIND_subset or classification.
COMPARISON_SCHEMA = {
    "split": pl.String,
    "task": pl.String,
    "metric": pl.String,
    "a": pl.Float64,
    "b": pl.Float64,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "verdict": pl.String,
}
NO_DIFFERENCE = "no significant difference"
LOWER_IS_BETTER = (*ranking.LOWER_IS_BETTER, "ece")


def unmatched(a: pl.DataFrame, b: pl.DataFrame, key: Sequence[str]) -> tuple[int, int]:
    """Return how many rows, by `key`, only the first and only the second table has."""
    return (
        a.join(b, on=key, how="anti", nulls_equal=True).height,
        b.join(a, on=key, how="anti", nulls_equal=True).height,
    )


def paired(a: pl.DataFrame, b: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Return the rows of `a` in the order of `key`, with the other columns of `b` under names that end with _b."""
    return a.sort(key).join(b, on=key, how="inner", nulls_equal=True, suffix="_b", maintain_order="left")


def common_splits(a: pl.DataFrame, b: pl.DataFrame, key: Sequence[str], what: str) -> tuple[list[str], list[str]]:
    """Return the splits in which both runs have the same rows, and a line for each other split.

    A run of one fold and a run of three have only the test split in common: their out-of-fold products differ.
    """
    same, left_out = [], []
    for split in sorted({*a["split"], *b["split"]}):
        here = pl.col("split") == split
        missing, added = unmatched(a.filter(here), b.filter(here), key)
        if missing or added:
            left_out.append(f"{split} is left out: {missing:,} {what} only in a, {added:,} only in b")
        else:
            same.append(split)
    return same, left_out


def comparison_rows(
    split: str, task: str, systems: Sequence[Statistic], differences: Mapping[str, Difference], num_units: int
) -> Iterator[tuple[Any, ...]]:
    """Yield COMPARISON_SCHEMA rows of two systems over the same units; `differences` has one for each figure."""
    values = (point(system, num_units) for system in systems)
    for (metric, gain), a, b in zip(differences.items(), *values, strict=True):
        yield split, task, metric, a, b, *gain, verdict(gain.low, gain.high, metric in LOWER_IS_BETTER)


def verdict(low: float, high: float, lower_is_better: bool) -> str:
    """Return which run is better by the interval (low, high) of a figure's difference, b minus a.

    >>> verdict(0.01, 0.02, lower_is_better=False), verdict(0.01, 0.02, lower_is_better=True)
    ('b is better', 'a is better')
    >>> verdict(-0.01, 0.02, lower_is_better=True)
    'no significant difference'
    """
    if low <= 0 <= high:
        return NO_DIFFERENCE
    return "b is better" if (low > 0) != lower_is_better else "a is better"
