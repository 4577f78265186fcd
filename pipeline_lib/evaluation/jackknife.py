"""The grouped jackknife: how much a figure varies, from the figures without each group of queries or products in turn.

Near-duplicates, photos of one product and captions of one photo are right or wrong together, so they are left out
together. Unlike a bootstrap, a jackknife is not random. It leaves out few groups at a time: a mean over classes is not
pulled up by resamples that lack the rare ones.
"""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import stdtrit

from pipeline_lib.metrics.ranges import cut_difference
from pipeline_lib.metrics.weighted import Counts, Statistic, point

COVERAGE = 0.95
# With more groups than this, several are left out at a time (the delete-a-group jackknife of Kott 2001).
MAX_LEFT_OUT = 400
BLOCK_VALUES = 1 << 20


class Jackknife(NamedTuple):
    """Figures of the sample, their variances and biases, all (figures,), and the numbers of units and of groups."""

    values: NDArray[np.float64]
    variances: NDArray[np.float64]
    biases: NDArray[np.float64]
    num_units: int
    num_groups: int


class LeftOut(NamedTuple):
    """Figures of the sample (figures,) and those without each block of groups (blocks, figures); none of one group."""

    values: NDArray[np.float64]
    without: NDArray[np.float64]
    num_units: int
    num_groups: int


class Difference(NamedTuple):
    """A figure of system b minus that of system a, and its 95 % interval."""

    difference: float
    low: float
    high: float

    def within(self, width: float) -> "Difference":
        """Return the difference with its limits at most `width` from 0; those of no interval stay infinite."""
        return Difference(self.difference, *cut_difference((self.low, self.high), width))


def clusters(group_ids: pl.Series) -> NDArray[np.int64]:
    """Return the number, from 0, of the group of each unit.

    >>> clusters(pl.Series(["b", "a", "b"])).tolist()
    [1, 0, 1]
    """
    return group_ids.rank("dense").cast(pl.Int64).to_numpy() - 1


def leave_out(statistic: Statistic, groups: NDArray[np.int64]) -> LeftOut:
    """Return the figures of the units, and without blocks of groups; `groups` (units,) numbers the groups from 0.

    Computing a statistic that often is the slow part of an interval, and several intervals can share it. Raises
    ValueError without a unit.
    """
    num_units = len(groups)
    if num_units == 0:
        raise ValueError("no unit: an interval needs at least one query or product")
    values = point(statistic, num_units)
    num_groups = int(groups.max()) + 1
    without = _figures_without(statistic, groups) if num_groups > 1 else np.empty((0, len(values)))
    return LeftOut(values, without, num_units, num_groups)


def jackknife(statistic: Statistic, groups: NDArray[np.int64]) -> Jackknife:
    """Return the figures of the units with jackknife variances and biases; arguments are those of `leave_out`."""
    return variation(leave_out(statistic, groups))


def variation(left_out: LeftOut) -> Jackknife:
    """Return the figures with jackknife variances and biases.

    The variance of a figure from B blocks is (B - 1) / B times the sum of squared deviations of the B figures without a
    block from their mean, its bias B - 1 times the mean's distance from the figure (Efron and Tibshirani 1993, chapter
    11). The variance is infinite for a single group, the bias then 0.
    """
    values, without, num_units, num_groups = left_out
    if num_groups == 1:
        return Jackknife(values, np.full(len(values), np.inf), np.zeros(len(values)), num_units, 1)
    blocks, mean = len(without), without.mean(axis=0)
    variances = (blocks - 1) / blocks * ((without - mean) ** 2).sum(axis=0)
    return Jackknife(values, variances, (blocks - 1) * (mean - values), num_units, num_groups)


def deviations_without(statistic: Statistic, groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the figures without each block of groups minus their mean, (blocks, figures); of two groups or more."""
    without = _figures_without(statistic, groups)
    deviations: NDArray[np.float64] = without - without.mean(axis=0)
    return deviations


def _figures_without(statistic: Statistic, groups: NDArray[np.int64]) -> NDArray[np.float64]:
    num_units, num_groups = len(groups), int(groups.max()) + 1
    blocks = min(num_groups, MAX_LEFT_OUT)
    # At random: ids are often sorted by category, and every 400th group is then a better sample than a random one.
    block_of = (np.random.default_rng(0).permutation(num_groups) % blocks)[groups]
    rows = max(1, BLOCK_VALUES // num_units)
    return np.concatenate(
        [statistic(_without(block_of, range(start, min(start + rows, blocks)))) for start in range(0, blocks, rows)]
    )


def t_quantile(num_groups: int) -> float:
    """Return the two-sided 95 % quantile of Student's t for the variance of `num_groups` groups (at least 2)."""
    return float(stdtrit(min(num_groups, MAX_LEFT_OUT) - 1, (1 + COVERAGE) / 2))


def paired_differences(first: Statistic, second: Statistic, groups: NDArray[np.int64]) -> list[Difference]:
    """Return `differences` of two statistics over the same groups."""
    return differences(leave_out(first, groups), leave_out(second, groups))


def differences(first: LeftOut, second: LeftOut) -> list[Difference]:
    """Return second minus first for every figure, each with the t interval of the jackknife over the same groups.

    What both systems have in common cancels out, so the interval is narrower than those of the two figures. A single
    group shows no difference: its limits are infinite.
    """
    both = second._replace(values=second.values - first.values, without=second.without - first.without)
    values, variances, _, _, num_groups = variation(both)
    if num_groups == 1:
        return [Difference(float(value), -np.inf, np.inf) for value in values]
    half = t_quantile(num_groups) * np.sqrt(variances)
    rows = zip(values.tolist(), (values - half).tolist(), (values + half).tolist(), strict=True)
    return [Difference(*row) for row in rows]


def _without(block_of: NDArray[np.int64], blocks: range) -> Counts:
    counts: Counts = (block_of[None, :] != np.array(blocks)[:, None]).astype(np.float64)
    return counts
