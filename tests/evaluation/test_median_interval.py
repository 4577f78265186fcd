"""Intervals of medians: the sign test of the binomial table, a slow loop over groups, coverage with large groups."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import binom

from bench.comparison import groups_of, luck, ranks_at
from pipeline_lib.evaluation.intervals import variance_of_mean
from pipeline_lib.evaluation.jackknife import t_quantile
from pipeline_lib.evaluation.median_interval import median_difference, median_interval, median_variance
from pipeline_lib.metrics.tied_ranks import untied


def test_the_median_has_the_order_statistics_of_the_binomial_table():
    values = np.random.default_rng(5).permutation(np.arange(1.0, 102))
    low, high = median_interval(values, np.arange(101))
    # The exact interval by order statistics of 101 values is 41 .. 61 (binomial table, p = 1/2).
    assert (low, high) == pytest.approx((binom.ppf(0.025, 101, 0.5), binom.ppf(0.975, 101, 0.5) + 1), abs=1)


@pytest.mark.parametrize("seed", range(6))
def test_the_limits_are_those_of_a_slow_test_of_every_value(seed):
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(8), [1, 1, 1, 2, 2, 3, 4, 9]))
    values = np.ceil(np.exp(rng.normal(1.4, 1.2, len(groups))))

    def is_rejected(below):
        changes = np.bincount(groups, below - 0.5)
        sums = np.array([abs(np.dot(signs, changes)) for signs in product([1, -1], repeat=8)])
        return changes.sum() > 0 and np.mean(sums >= abs(changes.sum()) - 1e-9) <= 0.05

    distinct = np.unique(values)
    expected = (
        min((value for value in distinct if not is_rejected(values > value)), default=distinct[0]),
        max((value for value in distinct if not is_rejected(values < value)), default=distinct[-1]),
    )
    assert median_interval(values, groups) == expected


def test_too_few_groups_bound_nothing():
    values, ranks = np.array([3.0, 9, 5, 4, 7]), untied(np.array([3, 9, 5, 4, 7]))
    assert median_interval(values, np.zeros(5, int)) == median_interval(values, np.arange(5)) == (3, 9)
    assert median_difference(ranks, ranks, np.arange(5))[1:] == (-np.inf, np.inf)
    assert median_variance(ranks, ranks, np.arange(5)) == np.inf


def test_copies_of_a_query_add_nothing_and_the_variance_is_that_of_the_interval():
    rng = np.random.default_rng(1)
    first, second = (ranks_at(rng.standard_normal(80)) for _ in range(2))
    once = median_difference(first, second, np.arange(80), swaps=4000)
    copied = [untied(np.repeat(one.expected(), 5)) for one in (first, second)]
    groups = np.repeat(np.arange(80), 5)
    assert median_difference(*copied, groups, swaps=4000) == pytest.approx(once, abs=0.5)
    half = t_quantile(80) * np.sqrt(median_variance(first, second, np.arange(80), swaps=4000))
    assert 2 * half == pytest.approx(once.high - once.low)


def test_the_median_of_few_large_groups_is_covered_where_students_share_does_not():
    rng, covered, of_student, samples = np.random.default_rng(3), 0, 0, 200
    for _ in range(samples):
        groups = groups_of(rng, 60, (1, 1, 1, 1, 2, 2, 4, 8, 30))
        values = ranks_at(luck(rng, groups, 0.8)).expected()  # the true median is 5
        low, high = median_interval(values, groups, 999)
        covered += low <= 5 <= high
        half = t_quantile(groups.max() + 1) * np.sqrt(variance_of_mean(1.0 * (values <= np.median(values)), groups))
        ends = np.quantile(values, np.clip([0.5 - half, 0.5 + half], 0, 1), method="nearest")
        of_student += ends[0] <= 5 <= ends[1]
    assert covered >= 0.92 * samples and of_student <= 0.87 * samples
