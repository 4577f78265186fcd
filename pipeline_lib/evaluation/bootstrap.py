"""Percentile bootstrap over queries or products: the range of a figure over resamples of the sample.

A resample is a row of counts (how often each unit was drawn), not a list of positions. So every figure is a weighted
sum or median that is computed for a block of resamples at once, and resampling groups needs no extra code. Two systems
are compared on the same resamples, so what they have in common cancels out.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.metrics.weighted import Counts, Statistic, point

COVERAGE = 0.95
BLOCK_VALUES = 1 << 20


class Difference(NamedTuple):
    """A figure of system b minus that of system a, its interval, and the share of resamples at or below zero."""

    difference: float
    low: float
    high: float
    share_not_above: float


def clusters(group_ids: pl.Series) -> NDArray[np.int64]:
    """Return the number, from 0, of the group of each unit; a resample draws groups.

    >>> clusters(pl.Series(["b", "a", "b"])).tolist()
    [1, 0, 1]
    """
    return group_ids.rank("dense").cast(pl.Int64).to_numpy() - 1


def resampled(
    statistic: Statistic, num_units: int, resamples: int, seed: int, groups: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Return the figures of each resample, (resamples, figures), computed block by block.

    With `groups` (units,), the cluster numbers 0 .. n - 1 of the units, clusters are drawn with replacement.
    """
    return np.concatenate([statistic(counts) for counts in _draws(num_units, resamples, seed, groups)])


def percentile_intervals(
    statistic: Statistic, num_units: int, resamples: int, seed: int, groups: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Return the 95 % interval of every figure, (figures, 2)."""
    return percentiles(resampled(statistic, num_units, resamples, seed, groups))


def paired_differences(
    first: Statistic,
    second: Statistic,
    num_units: int,
    resamples: int,
    seed: int,
    groups: NDArray[np.int64] | None = None,
) -> list[Difference]:
    """Return second minus first for every figure, both on the same resamples of the same units."""

    def difference(counts: Counts) -> NDArray[np.float64]:
        return second(counts) - first(counts)

    draws = resampled(difference, num_units, resamples, seed, groups)
    rows = zip(point(difference, num_units), percentiles(draws), (draws <= 0).mean(axis=0), strict=True)
    return [Difference(float(value), float(low), float(high), float(share)) for value, (low, high), share in rows]


def _draws(num_units: int, resamples: int, seed: int, groups: NDArray[np.int64] | None) -> Iterator[Counts]:
    if num_units == 0:
        raise ValueError("no unit to resample: an interval needs at least one query or product")
    num_drawn = num_units if groups is None else int(groups.max()) + 1
    block = max(1, BLOCK_VALUES // max(num_units, num_drawn))
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        # One call per resample, so the draws do not depend on the block size.
        drawn = np.stack([rng.integers(0, num_drawn, num_drawn) for _ in range(rows)])
        drawn += np.arange(rows)[:, None] * num_drawn
        counts = np.bincount(drawn.ravel(), minlength=rows * num_drawn).reshape(rows, num_drawn).astype(np.float64)
        yield counts if groups is None else counts[:, groups]


def percentiles(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the 95 % interval of each figure of the draws (resamples, figures), (figures, 2)."""
    tail = 50 * (1 - COVERAGE)
    return np.percentile(draws, [tail, 100 - tail], axis=0).T
