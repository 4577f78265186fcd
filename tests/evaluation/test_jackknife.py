"""The grouped jackknife: equal to a slow loop, closed forms, groups, paired differences."""

import numpy as np
import pytest
from scipy.stats import t

from pipeline_lib.evaluation import jackknife as module
from pipeline_lib.evaluation.jackknife import jackknife, paired_differences, t_quantile
from pipeline_lib.metrics.classification import ClassScores, class_figures, class_statistic
from pipeline_lib.metrics.weighted import weighted_means


def mean_of(values):
    return lambda counts: weighted_means(values[:, None], counts)


def test_variance_of_a_mean_is_the_textbook_one():
    values = np.random.default_rng(0).standard_normal(37)
    figures = jackknife(mean_of(values), np.arange(37))
    assert figures.values == pytest.approx([values.mean()])
    assert figures.variances == pytest.approx([values.var(ddof=1) / 37])
    assert (figures.num_units, figures.num_groups) == (37, 37)


@pytest.mark.parametrize("block_values", [1, 1 << 20])
def test_equals_a_slow_loop_over_groups_that_are_left_out(monkeypatch, block_values):
    monkeypatch.setattr(module, "BLOCK_VALUES", block_values)
    rng = np.random.default_rng(1)
    truth, groups = rng.integers(0, 4, 60), rng.permutation(np.arange(60) // 3)
    probabilities = rng.dirichlet(np.ones(4), 60)
    slow = []
    for group in range(20):
        rest = groups != group
        slow.append(list(class_figures(ClassScores.of(truth[rest], probabilities[rest])).values()))
    expected = 19 / 20 * ((slow - np.mean(slow, axis=0)) ** 2).sum(axis=0)
    figures = jackknife(class_statistic(ClassScores.of(truth, probabilities)), groups)
    assert figures.variances == pytest.approx(expected)
    assert figures.biases == pytest.approx(19 * (np.mean(slow, axis=0) - figures.values))


def test_the_bias_of_a_mean_is_none_and_that_of_a_variance_is_the_textbook_one():
    values = np.random.default_rng(0).standard_normal(37)

    def moments(counts):
        first, second = (weighted_means(power[:, None], counts) for power in (values, values**2))
        return np.concatenate([first, second - first**2], axis=1)

    assert jackknife(moments, np.arange(37)).biases == pytest.approx([0, -values.var(ddof=1) / 37], abs=1e-12)


def test_many_groups_are_left_out_several_at_a_time(monkeypatch):
    monkeypatch.setattr(module, "MAX_LEFT_OUT", 100)
    # Sorted, as ids often are by category: every 100th of them would be a far better sample than a random one.
    values = np.sort(np.random.default_rng(2).standard_normal(4000))
    left_out = []
    jackknife(lambda counts: left_out.append(counts) or counts[:, :1], np.arange(4000))
    assert (left_out[-1].sum(axis=1) == 3960).all() and (left_out[-1].sum(axis=0) == 99).all()
    figures = jackknife(mean_of(values), np.arange(4000))
    assert figures.variances == pytest.approx([values.var() / 4000], rel=0.4)  # relative standard error 14 %


def test_groups_multiply_the_variance_by_their_size():
    by_group = (np.random.default_rng(3).random(200) < 0.5).astype(float)
    groups = np.repeat(np.arange(200), 9)
    alone = jackknife(mean_of(by_group), np.arange(200))
    assert jackknife(mean_of(by_group[groups]), groups).variances == pytest.approx(alone.variances)


def test_one_group_has_no_variance_and_no_unit_is_refused():
    assert jackknife(mean_of(np.ones(5)), np.zeros(5, int)).variances.tolist() == [np.inf]
    assert paired_differences(mean_of(np.zeros(5)), mean_of(np.ones(5)), np.zeros(5, int)) == [(1, -np.inf, np.inf)]
    with pytest.raises(ValueError, match="at least one query or product"):
        jackknife(mean_of(np.zeros(0)), np.zeros(0, int))


def test_student_quantile():
    assert t_quantile(12) == pytest.approx(t.ppf(0.975, 11))
    assert t_quantile(10**6) == pytest.approx(t.ppf(0.975, 399))


def test_pairing_detects_a_difference_smaller_than_either_interval():
    rng = np.random.default_rng(3)
    first = rng.standard_normal(400)
    second = first + 0.05 + 0.01 * rng.standard_normal(400)
    (gain,) = paired_differences(mean_of(first), mean_of(second), np.arange(400))
    assert gain.difference == pytest.approx((second - first).mean())
    half = t.ppf(0.975, 399) * (second - first).std(ddof=1) / 20
    assert (gain.low, gain.high) == pytest.approx((gain.difference - half, gain.difference + half))
    assert gain.low > 0
    (loss,) = paired_differences(mean_of(second), mean_of(first), np.arange(400))
    assert (loss.low, loss.high) == pytest.approx((-gain.high, -gain.low))


def test_equal_systems_do_not_differ():
    values = np.arange(10.0)
    assert paired_differences(mean_of(values), mean_of(values), np.arange(10)) == [(0, 0, 0)]
