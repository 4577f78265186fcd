"""The difference of two settings, each trained with one or more seeds: its interval carries queries and seeds.

A run is one draw of its setting: another seed gives other figures on the same queries. So a verdict about a setting
needs the spread between seeds beside that between queries. A verdict about a checkpoint needs the queries alone.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, ndtr, stdtrit

from pipeline_lib.evaluation.jackknife import COVERAGE, MAX_LEFT_OUT, deviations_without
from pipeline_lib.metrics.weighted import Counts, Statistic, point

ROUNDING = 1e-12  # smaller differences of means are sums of the same numbers in another order
QUANTILES, LARGEST_FACTOR = 64, 1e7
Values = NDArray[np.float64]


class Variances(NamedTuple):
    """Parts of the variance of a difference, each (figures,) with its degrees of freedom.

    `queries` is that between groups of queries, `seeds` that between seeds; what both contain is halved between them.
    """

    queries: Values
    query_df: int
    seeds: Values
    seed_df: Values

    def of(self, figure: int) -> "Variances":
        """Return the parts of one figure."""
        return Variances(self.queries[[figure]], self.query_df, self.seeds[[figure]], self.seed_df[[figure]])

    def half_width(self, tail: float | Values) -> Values:
        """Return half the width of an interval that leaves out `tail` on each side.

        The two parts are added as squares, each with its own quantile of Student's t (Zou and Donner 2008). One
        quantile with the degrees of freedom of Satterthwaite covers 87 % where two seeds vary most.
        """
        by_query = stdtrit(self.query_df, 1 - tail) ** 2 * self.queries
        by_seed = np.where(self.seeds > 0, stdtrit(self.seed_df, 1 - tail) ** 2 * self.seeds, 0.0)
        return np.asarray(np.sqrt(by_query + by_seed))

    def smallest(self, tail: float, power: float) -> Values:
        """Return the true difference of which a comparison like this one finds a share `power` at that `tail`.

        It is infinite where no difference can be found.
        """
        by_query = _detectable(self.query_df, tail, power) ** 2 * self.queries
        factors = np.array([_detectable(float(df), tail, power) for df in self.seed_df])
        by_seed = np.where(self.seeds > 0, factors**2 * self.seeds, 0.0)
        return np.asarray(np.sqrt(by_query + by_seed))


class SettingDifferences(NamedTuple):
    """Differences of the means of two settings, their limits, p values and variances, each (figures,)."""

    differences: Values
    low: Values
    high: Values
    p_values: Values
    variances: Variances


def setting_differences(
    first: Sequence[Statistic],
    second: Sequence[Statistic],
    groups: NDArray[np.int64],
    paired: bool,
    own: Mapping[int, float] | None = None,
) -> SettingDifferences:
    """Return the mean of `second` minus that of `first`, a statistic for each seed, over units of the same `groups`.

    `paired` if the seeds of both settings are the same numbers in the same order. A side of one run adds no variance
    between seeds: the verdict is then about that checkpoint. A single group of queries shows no difference. `own` has
    the variance between queries of figures (by place) for which the jackknife has none, such as a median.
    """
    systems = [*first, *second]
    weights = np.array([-1 / len(first)] * len(first) + [1 / len(second)] * len(second))
    values = np.stack([point(system, len(groups)) for system in systems])
    differences = weights @ values
    differences[np.abs(differences) < ROUNDING] = 0
    num_groups = int(groups.max()) + 1
    if num_groups == 1:
        infinite = np.full(len(differences), np.inf)
        nothing = Variances(infinite, 1, np.zeros(len(differences)), np.ones(len(differences)))
        return SettingDifferences(differences, -infinite, infinite, np.ones(len(differences)), nothing)

    def stacked(counts: Counts) -> Values:
        return np.concatenate([system(counts) for system in systems], axis=1)

    blocks = deviations_without(stacked, groups).reshape(-1, len(systems), len(differences))
    query_df = min(num_groups, MAX_LEFT_OUT) - 1
    factor = query_df / (query_df + 1)
    queries = factor * (np.einsum("s,bsf->bf", weights, blocks) ** 2).sum(axis=0)
    for place, variance in (own or {}).items():
        queries[place] = variance
    number = len(first)
    if paired and number > 1:
        parts = [_between_seeds(values[number:] - values[:number], blocks[:, number:] - blocks[:, :number])]
    else:
        sides = (slice(0, number), slice(number, None))
        parts = [_between_seeds(values[side], blocks[:, side]) for side in sides]
    raw, shared, squares = (np.sum([part[place] for part in parts], axis=0) for place in range(3))
    seed_df = np.divide(raw**2, squares, out=np.ones_like(raw), where=squares > 0)
    variances = Variances(_without_half(queries, shared), query_df, _without_half(raw, shared), seed_df)
    half = variances.half_width((1 - COVERAGE) / 2)
    p_values = _p_values(np.abs(differences), variances)
    return SettingDifferences(differences, differences - half, differences + half, p_values, variances)


@lru_cache(maxsize=1024)
def _detectable(df: float, tail: float, power: float) -> float:
    """Return k so that a difference of k standard errors, as estimated here, is found with probability `power`.

    Both estimate the error with `df` degrees of freedom. With s and s' distributed as chi / sqrt(df) it is the k for
    which P(Z + k s > t s') is `power`, over the midpoints of QUANTILES parts of equal probability. The sum of the two
    quantiles of Student's t finds 50 to 65 % with two seeds.
    """
    errors = np.sqrt(chdtri(df, (np.arange(QUANTILES) + 0.5) / QUANTILES) / df)
    critical = float(stdtrit(df, 1 - tail)) * errors
    low, high = 0.0, LARGEST_FACTOR
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        found = float(ndtr(middle * errors[:, None] - critical).mean())
        low, high = (middle, high) if found < power else (low, middle)
    return high


def _without_half(variance: Values, shared: Values) -> Values:
    """Return a variance less half of the part that both contain, as far as it has it.

    Taken off the seeds alone, intervals of three seeds cover as little as 92 %, off the queries alone up to 98 %.
    """
    return np.asarray((variance + np.maximum(variance - shared, 0)) / 2)


def _between_seeds(values: Values, blocks: Values) -> tuple[Values, Values, Values]:
    """Return the variance of the mean between seeds, the part that queries add to it, and its square by its df.

    `values` are (seeds, figures), `blocks` the jackknife's deviations (blocks, seeds, figures). Queries make the
    seeds differ, too: by the jackknife variance of the figures of single seeds beyond that of their mean.
    """
    seeds, figures = values.shape
    if seeds == 1:
        return np.zeros(figures), np.zeros(figures), np.zeros(figures)
    raw = values.var(axis=0, ddof=1) / seeds
    own = blocks - blocks.mean(axis=1, keepdims=True)
    factor = (len(blocks) - 1) / len(blocks)
    shared = factor * (own**2).sum(axis=(0, 1)) / (seeds - 1) / seeds
    return raw, shared, raw**2 / (seeds - 1)


def _p_values(sizes: Values, variances: Variances) -> Values:
    """Return twice the tail at which the interval of each difference ends at 0, by bisection."""
    low, high = np.zeros(len(sizes)), np.full(len(sizes), 0.5)
    for _ in range(60):
        middle = (low + high) / 2
        with np.errstate(invalid="ignore"):
            outside = variances.half_width(middle) >= sizes
        low, high = np.where(outside, middle, low), np.where(outside, high, middle)
    return np.where(sizes > 0, np.clip(2 * high, 0, 1), 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted for their number by Holm's method (1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    scaled = np.array(p_values)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return [float(value) for value in adjusted]
