"""Intervals: closed forms by hand, edges, groups, and coverage where the percentile bootstrap fails."""

import numpy as np
import pytest

from pipeline_lib.evaluation.calibration_interval import BinGaps, calibration_interval, expected_error
from pipeline_lib.evaluation.intervals import Z, mean_interval, share_intervals
from pipeline_lib.evaluation.jackknife import Jackknife, jackknife, t_quantile
from pipeline_lib.metrics.calibration import calibration_statistic
from pipeline_lib.metrics.classification import ClassScores
from pipeline_lib.metrics.weighted import weighted_means


def share_of(hits, groups=None):
    groups = np.arange(len(hits)) if groups is None else groups
    figures = jackknife(lambda counts: weighted_means(np.asarray(hits, float)[:, None], counts), groups)
    return share_intervals(figures)[0]


def test_a_share_of_many_units_has_the_interval_of_wilson():
    low, high = share_of(np.repeat([1.0, 0.0], [300, 700]))
    size = 999 * (Z / t_quantile(1000)) ** 2  # the jackknife's variance has n - 1 in its denominator
    centre = (0.3 + Z * Z / (2 * size)) / (1 + Z * Z / size)
    half = Z * np.sqrt(0.3 * 0.7 / size + Z * Z / (4 * size**2)) / (1 + Z * Z / size)
    # From 400 blocks the variance has a relative standard error of 7 %. Every 400th unit would be a better sample.
    assert (low, high) == pytest.approx((centre - half, centre + half), abs=0.003)


def test_where_all_are_right_the_interval_is_no_point():
    low, high = share_of(np.ones(20))
    size = 20 * (Z / t_quantile(20)) ** 2
    assert high == 1 and low == pytest.approx(size / (size + Z * Z))  # Wilson with x = n
    assert tuple(share_of(np.zeros(20))) == pytest.approx((0, 1 - low))


def test_one_group_tells_nothing_and_copies_tell_as_much_as_one():
    assert share_of(np.ones(8), np.zeros(8, int)).tolist() == [0, 1]
    hits = np.array([1.0, 0, 1, 1, 0, 1, 1, 1, 0, 1])
    copies = share_of(np.repeat(hits, 7), np.repeat(np.arange(10), 7))
    assert copies == pytest.approx(share_of(hits))


def test_a_mean_over_cutoffs_may_vary_less_than_a_share_but_not_without_bound():
    tiny = Jackknife(np.array([0.5]), np.array([1e-12]), np.zeros(1), 50, 50)
    size = 20 * 50 * (Z / t_quantile(50)) ** 2
    assert np.ptp(share_intervals(tiny)[0]) == pytest.approx(2 * Z * np.sqrt(1 / (4 * (size + Z * Z))), rel=1e-6)


def test_the_share_covers_where_the_percentile_bootstrap_does_not():
    rng = np.random.default_rng(4)
    wilson = percentile = 0
    for _ in range(400):
        hits = (rng.random(20) < 0.9).astype(float)
        low, high = share_of(hits)
        wilson += low <= 0.9 <= high
        draws = rng.choice(hits, (300, 20)).mean(axis=1)
        percentile += np.percentile(draws, 2.5) <= 0.9 <= np.percentile(draws, 97.5)
    assert wilson >= 0.935 * 400
    assert percentile <= 0.9 * 400


def test_the_mean_of_normal_values_has_students_interval():
    values = np.random.default_rng(6).normal(50, 3, 300)
    low, high = mean_interval(values, np.arange(300), 2000, 1)
    half = t_quantile(300) * values.std(ddof=1) / np.sqrt(300)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.06)
    assert mean_interval(values, np.arange(300), 2000, 1) == (low, high)


def test_the_mean_of_a_long_tail_reaches_further_up():
    values = np.random.default_rng(7).lognormal(1, 1.5, 100)
    low, high = mean_interval(values, np.arange(100), 2000, 1)
    assert high - values.mean() > 1.5 * (values.mean() - low)
    assert low >= values.min()


def predictions(rng, confidence):
    """Return truth and probabilities of two classes for predictions that are right with their probability."""
    right = rng.random(len(confidence)) < confidence
    return (~right).astype(np.int64), np.stack([confidence, 1 - confidence], axis=1)


def test_a_calibrated_model_has_zero_in_its_interval():
    rng = np.random.default_rng(8)
    covered = 0
    for _ in range(100):
        truth, probabilities = predictions(rng, rng.uniform(0.55, 0.99, 60))
        low, _ = calibration_interval(ClassScores.of(truth, probabilities), np.arange(60))
        covered += low == 0
    assert covered >= 93


def test_the_calibration_interval_covers_a_known_error():
    rng = np.random.default_rng(9)
    covered = bootstrap = 0
    for _ in range(150):
        stated = rng.uniform(0.6, 0.99, 60)
        truth, _ = predictions(rng, stated - 0.08)
        probabilities = np.stack([stated, 1 - stated], axis=1)
        low, high = calibration_interval(ClassScores.of(truth, probabilities), np.arange(60))
        covered += low <= 0.08 <= high
        counts = rng.multinomial(60, np.full(60, 1 / 60), 200).astype(float)
        draws = calibration_statistic(ClassScores.of(truth, probabilities))(counts)
        bootstrap += np.percentile(draws, 2.5) <= 0.08 <= np.percentile(draws, 97.5)
    assert covered >= 0.91 * 150
    assert bootstrap <= 0.8 * 150


def test_the_expected_error_shrinks_noise_and_keeps_what_is_certain():
    shares = np.array([0.5, 0.5])
    noise = BinGaps(np.array([0.1, -0.1]), np.full(2, 0.04), shares)
    assert expected_error(noise) < 0.12  # of two gaps of standard deviation 0.2, |gap| is 0.16 on average
    certain = BinGaps(np.array([0.1, -0.1]), np.full(2, 1e-8), shares)
    assert expected_error(certain) == pytest.approx(0.1, abs=1e-3)
