"""Differences of settings with several seeds: equal to simpler methods where these hold, and coverage by simulation."""

import numpy as np
import pytest
from scipy import stats

from pipeline_lib.evaluation.jackknife import paired_differences
from pipeline_lib.evaluation.setting_difference import Variances, setting_differences
from pipeline_lib.metrics.weighted import weighted_means


def mean_of(values):
    return lambda counts: weighted_means(values[:, None], counts)


def draw(rng, seeds, queries, seed_deviation):
    """Return the values (seeds, queries) of a setting: its own part of each query, of each seed and of both."""
    by_query, by_seed = rng.standard_normal(queries), seed_deviation * rng.standard_normal(seeds)
    return by_query + by_seed[:, None] + 0.5 * rng.standard_normal((seeds, queries))


def test_one_seed_a_side_is_the_paired_jackknife():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 90))
    groups = np.arange(90) // 3
    (expected,) = paired_differences(mean_of(a), mean_of(b), groups)
    found = setting_differences([mean_of(a)], [mean_of(b)], groups, paired=False)
    assert (found.differences[0], found.low[0], found.high[0]) == pytest.approx(expected)


def test_seeds_that_vary_far_more_than_queries_give_the_t_tests_of_their_means():
    rng = np.random.default_rng(1)
    a, b = (1e3 * rng.standard_normal(3)[:, None] + rng.standard_normal((3, 400)) for _ in range(2))
    groups = np.arange(400)
    sides = [[mean_of(one) for one in side] for side in (a, b)]
    paired = setting_differences(*sides, groups, paired=True)
    assert paired.p_values[0] == pytest.approx(stats.ttest_rel(a.mean(axis=1), b.mean(axis=1)).pvalue, rel=1e-3)
    welch = setting_differences(*sides, groups, paired=False)
    expected = stats.ttest_ind(a.mean(axis=1), b.mean(axis=1), equal_var=False).pvalue
    assert welch.p_values[0] == pytest.approx(expected, rel=1e-3)


def test_a_p_value_of_5_percent_is_an_interval_that_ends_at_0():
    rng = np.random.default_rng(2)
    a, b = (draw(rng, 3, 60, 0.2) for _ in range(2))
    groups = np.arange(60)
    found = setting_differences([mean_of(x) for x in a], [mean_of(x) for x in b], groups, paired=False)
    for shift, p_value in ((found.low[0], 0.05), (found.high[0], 0.05), (found.differences[0], 1.0)):
        moved = [mean_of(x - shift) for x in b]
        again = setting_differences([mean_of(x) for x in a], moved, groups, paired=False)
        assert again.p_values[0] == pytest.approx(p_value, rel=1e-6)


def test_pairing_takes_out_what_equal_seeds_share():
    rng = np.random.default_rng(3)
    shared = 5 * rng.standard_normal(4)[:, None]
    a, b = (shared + rng.standard_normal((4, 80)) for _ in range(2))
    sides = [[mean_of(one) for one in side] for side in (a, b)]
    widths = []
    for paired in (True, False):
        found = setting_differences(*sides, np.arange(80), paired)
        widths.append(found.high[0] - found.low[0])
    assert widths[0] < widths[1] / 4


def test_a_single_group_shows_nothing_and_own_variances_replace_the_jackknifes():
    ones = [mean_of(np.ones(5)), mean_of(np.zeros(5))]
    alone = setting_differences([ones[1]], [ones[0]], np.zeros(5, int), paired=False)
    assert (alone.low[0], alone.high[0], alone.p_values[0]) == (-np.inf, np.inf, 1)
    values = [mean_of(np.random.default_rng(4).standard_normal(40)), mean_of(np.zeros(40))]
    wide = setting_differences([values[0]], [values[1]], np.arange(40), paired=False, own={0: 9.0})
    assert (wide.high - wide.low)[0] == pytest.approx(2 * 3 * 2.0227, rel=1e-3)  # Student's t of 39


@pytest.mark.parametrize(("seeds", "seed_deviation"), [(3, 0.0), (3, 0.15), (5, 1.0)])
def test_intervals_cover_the_difference_of_the_settings(seeds, seed_deviation):
    """Two settings that do not differ, over 60 queries, 200 times: 3 standard errors are 4.6 points."""
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        sides = [[mean_of(one) for one in draw(rng, seeds, 60, seed_deviation)] for _ in range(2)]
        found = setting_differences(*sides, np.arange(60), paired=False)
        covered += found.low[0] <= 0 <= found.high[0]
    assert covered / 200 >= 0.904


def test_the_smallest_difference_has_the_quantiles_of_students_t_where_errors_are_known():
    variances = Variances(np.array([4.0]), 399, np.zeros(1), np.ones(1))
    expected = 2 * (stats.t.ppf(0.975, 399) + stats.t.ppf(0.8, 399))
    assert variances.smallest(0.025, 0.8)[0] == pytest.approx(expected, rel=0.005)
    assert np.isinf(Variances(np.array([np.inf]), 1, np.zeros(1), np.ones(1)).smallest(0.025, 0.8)[0])


def test_the_smallest_difference_of_two_estimated_errors_is_that_of_a_simulation():
    rng = np.random.default_rng(6)
    here, there = (np.sqrt(rng.chisquare(2, 200_000) / 2) for _ in range(2))
    only_seeds = Variances(np.zeros(1), 199, np.array([1.0]), np.array([2.0]))
    (size,) = only_seeds.smallest(0.025, 0.8)
    found = rng.standard_normal(200_000) + size * here > stats.t.ppf(0.975, 2) * there
    assert found.mean() == pytest.approx(0.8, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("seed_deviation", [0.0, 0.05, 0.4])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_smallest_difference_between_settings_is_found_in_about_80_percent(seeds, seed_deviation, paired):
    """200 queries; the smallest difference of one comparison is the gain of the next: standard error 1.6 points."""
    rng, found, samples = np.random.default_rng(7), 0, 600

    def compared(gain):
        together = seed_deviation * np.sqrt(0.5) * rng.standard_normal(seeds) if paired else np.zeros(seeds)
        common, sides = rng.standard_normal(200), []
        for shift in (0.0, gain):
            own = seed_deviation * np.sqrt(0.5 if paired else 1) * rng.standard_normal(seeds)
            values = common + 0.5 * rng.standard_normal(200) + 0.5 * rng.standard_normal((seeds, 200)) + shift
            sides.append([mean_of(one) for one in values + (together + own)[:, None]])
        return setting_differences(*sides, np.arange(200), paired)

    for _ in range(samples):
        again = compared(compared(0.0).variances.smallest(0.025, 0.8)[0])
        found += again.differences[0] > 0 and again.p_values[0] <= 0.05
    assert 0.73 <= found / samples <= 0.89
