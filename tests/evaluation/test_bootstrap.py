"""The bootstrap: equal to a slow loop, correct coverage, clusters, paired differences."""

import numpy as np
import pytest

from pipeline_lib.evaluation import bootstrap
from pipeline_lib.evaluation.bootstrap import paired_differences, percentile_intervals, resampled
from pipeline_lib.metrics.weighted import weighted_means


def mean_of(values):
    return lambda counts: weighted_means(values[:, None], counts)


def test_the_draws_do_not_depend_on_the_block_size(monkeypatch):
    values = np.random.default_rng(0).standard_normal(37)
    draws = resampled(mean_of(values), 37, 50, seed=5)
    monkeypatch.setattr(bootstrap, "BLOCK_VALUES", 100)
    assert np.allclose(draws, resampled(mean_of(values), 37, 50, seed=5), rtol=0, atol=1e-12)
    assert not np.allclose(draws, resampled(mean_of(values), 37, 50, seed=6))


def test_equals_a_slow_loop_over_the_same_draws():
    values = np.random.default_rng(1).standard_normal(20)
    rng = np.random.default_rng(9)
    slow = [values[rng.integers(0, 20, 20)].mean() for _ in range(30)]
    assert resampled(mean_of(values), 20, 30, seed=9)[:, 0] == pytest.approx(slow)


def test_the_interval_of_a_share_is_the_binomial_one():
    hits = np.repeat([1.0, 0.0], [300, 700])
    ((low, high),) = percentile_intervals(mean_of(hits), 1000, 4000, seed=0)
    half = 1.96 * np.sqrt(0.3 * 0.7 / 1000)
    assert low == pytest.approx(0.3 - half, abs=0.003)
    assert high == pytest.approx(0.3 + half, abs=0.003)


def test_the_interval_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(4)
    covered = 0
    for trial in range(200):
        sample = (rng.random(200) < 0.4).astype(float)
        ((low, high),) = percentile_intervals(mean_of(sample), 200, 300, seed=trial)
        covered += low <= 0.4 <= high
    assert 180 <= covered <= 199  # 190 expected, standard deviation 3


def test_clusters_widen_the_interval_by_the_root_of_their_size():
    rng = np.random.default_rng(2)
    by_group = (rng.random(400) < 0.5).astype(float)
    groups = np.repeat(np.arange(400), 9)
    values = by_group[groups]
    alone = np.ptp(percentile_intervals(mean_of(values), 3600, 1000, seed=1)[0])
    clustered = np.ptp(percentile_intervals(mean_of(values), 3600, 1000, seed=1, groups=groups)[0])
    assert clustered / alone == pytest.approx(3, rel=0.15)


def test_pairing_detects_a_difference_smaller_than_either_interval():
    rng = np.random.default_rng(3)
    first = rng.standard_normal(400)
    second = first + 0.05 + 0.01 * rng.standard_normal(400)
    (gain,) = paired_differences(mean_of(first), mean_of(second), 400, 1000, seed=0)
    assert gain.difference == pytest.approx((second - first).mean())
    assert 0 < gain.low < gain.difference < gain.high
    assert gain.share_not_above == 0
    (loss,) = paired_differences(mean_of(second), mean_of(first), 400, 1000, seed=0)
    assert (loss.low, loss.high) == pytest.approx((-gain.high, -gain.low))
    assert loss.share_not_above == 1


def test_equal_systems_do_not_differ():
    values = np.arange(10.0)
    (difference,) = paired_differences(mean_of(values), mean_of(values), 10, 100, seed=0)
    assert difference == (0, 0, 0, 1)


def test_an_empty_sample_is_refused():
    with pytest.raises(ValueError, match="no unit to resample"):
        percentile_intervals(mean_of(np.zeros(0)), 0, 100, seed=0)
