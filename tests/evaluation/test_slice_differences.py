"""Slices: equal to the tests of single slices, one family over all of them, calibrated where Student's t is not."""

import numpy as np
import pytest

from bench.comparison import STRUCTURES, groups_of, runs_of
from pipeline_lib.evaluation import randomisation
from pipeline_lib.evaluation.randomisation import mean_intervals
from pipeline_lib.evaluation.setting_difference import holm, setting_differences
from pipeline_lib.evaluation.slice_differences import checkpoint_slices, setting_slices
from pipeline_lib.metrics.weighted import weighted_means

RNG = np.random.default_rng(0)
GROUPS = RNG.permutation(np.arange(120) // 2)
RUNS = [RNG.standard_normal(120) + shift for shift in (0.0, 0.1, 0.5)]
SLICES = [np.arange(0, 120, 2), np.arange(40), np.arange(30, 100), np.array([3, 5, 7])]


def test_slices_of_checkpoints_have_the_intervals_and_the_largest_of_all_differences_in_each_swap():
    limits, p_values = checkpoint_slices(RUNS, GROUPS, SLICES, 400, 3)
    assert limits.shape == (2, 4, 2) and p_values.shape == (2, 4)
    for number, other in enumerate(RUNS[1:]):
        for place, rows in enumerate(SLICES):
            groups = np.unique(GROUPS[rows], return_inverse=True)[1]
            (expected,) = mean_intervals((other - RUNS[0])[rows, None], groups, 400, 3)
            assert limits[number, place] == pytest.approx(expected)
    # A slow loop over the same swaps of the groups, on the means of each slice.
    (swaps,) = randomisation._random_swaps(60, 400, 3, 400)
    gains = np.stack([other - RUNS[0] for other in RUNS[1:]])
    sizes = [
        [abs((signs[GROUPS] * gain)[rows].mean()) for gain in gains for rows in SLICES]
        for signs in np.concatenate([np.ones((1, 60)), 1 - 2 * swaps])
    ]
    sizes /= np.sqrt((np.array(sizes) ** 2).mean(axis=0))
    first, second = np.argsort(-sizes[0])[:2]
    reached = [(sizes[1:].max(axis=1) >= sizes[0, first] - 1e-9).sum()]
    reached.append(max(reached[0], (np.delete(sizes[1:], first, axis=1).max(axis=1) >= sizes[0, second] - 1e-9).sum()))
    assert p_values.ravel()[[first, second]] == pytest.approx((np.array(reached) + 1) / 401)


def test_slices_of_settings_are_their_own_setting_differences_under_holm():
    settings = [[RUNS[0], RUNS[0] + 0.1, RUNS[0] - 0.1], [RUNS[2], RUNS[2] + 0.05, RUNS[2] - 0.1], [RUNS[1]]]
    limits, p_values = setting_slices(settings, GROUPS, SLICES, [False, True, False])
    alone = []
    for number, paired in ((1, True), (2, False)):
        for place, rows in enumerate(SLICES):
            sides = [
                [lambda counts, run=run, rows=rows: weighted_means(run[rows, None], counts) for run in settings[side]]
                for side in (0, number)
            ]
            found = setting_differences(*sides, np.unique(GROUPS[rows], return_inverse=True)[1], paired)
            assert limits[number - 1, place] == pytest.approx([found.low[0], found.high[0]])
            alone.append(float(found.p_values[0]))
    assert p_values.ravel() == pytest.approx(holm(alone))


def test_very_many_slices_take_fewer_swaps(monkeypatch):
    monkeypatch.setattr("pipeline_lib.evaluation.slice_differences.MOST_VALUES", 8 * 1500)
    _, p_values = checkpoint_slices([RUNS[0], RUNS[0] + 9], GROUPS, SLICES[:3] * 2, 10_000, 0)
    assert p_values.max() == 1 / 2001
    _, p_values = checkpoint_slices([RUNS[0], RUNS[0] + 9], GROUPS, SLICES[:3] * 9, 10_000, 0)
    assert p_values.max() == 1 / 1000


def test_a_slice_of_few_large_groups_is_called_better_in_at_most_one_of_twenty_samples():
    """Student's t of the grouped variance calls 21 % better: 300 samples, 3 standard errors are 3.8 points."""
    rng, wrong, uncovered, samples = np.random.default_rng(4), 0, 0, 300
    sizes, share = STRUCTURES["1 to 30, very unequal"]
    for _ in range(samples):
        groups = groups_of(rng, 30, sizes)
        values = [np.mean([run.hits(k) for k in (1, 5, 10)], axis=0) for run in runs_of(rng, groups, share)]
        limits, p_values = checkpoint_slices(values, groups, [np.arange(30)], 199, 0)
        wrong += p_values[0, 0] <= 0.05
        uncovered += not limits[0, 0, 0] <= 0 <= limits[0, 0, 1]
    assert wrong <= 0.088 * samples and uncovered <= 0.088 * samples
