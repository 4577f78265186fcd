"""The fitted temperature is the best one, changes no ranking and undoes a known distortion."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.ensembling.means import softmax
from pipeline_lib.ensembling.temperature import COLDEST, HOTTEST, fit_temperature, scaled


def log_loss(probabilities, truth):
    return -np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-38)).mean(dtype=np.float64)


def test_hand_worked_temperature():
    # Always 0.9 and right three times in four: the loss is lowest where the odds of 9 become 3 = 9 ** (1 / 2).
    probabilities = np.array([[0.9, 0.1]] * 4, np.float32)
    truth = np.array([0, 0, 0, 1])
    assert fit_temperature(probabilities, truth) == pytest.approx(2, rel=1e-4)
    assert scaled(probabilities, 2.0)[0] == pytest.approx([0.75, 0.25])


def test_a_temperature_of_one_changes_nothing():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), 5).astype(np.float32)
    assert scaled(probabilities, 1.0) is probabilities


def test_always_or_never_right_gives_the_limits():
    probabilities = np.array([[0.7, 0.3], [0.6, 0.4]], np.float32)
    assert fit_temperature(probabilities, np.array([0, 0])) == COLDEST
    assert fit_temperature(probabilities, np.array([1, 1])) == HOTTEST
    assert fit_temperature(np.full((3, 2), 0.5, np.float32), np.array([0, 1, 1])) == HOTTEST
    assert np.isfinite(scaled(np.array([[1.0, 0.0]], np.float32), COLDEST)).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 1.0, 3.0]))
def test_no_temperature_of_a_grid_is_better_and_no_order_changes(seed, spread):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, 60)
    logits = spread * (rng.normal(size=(60, 4)) + 2 * np.eye(4)[truth])
    probabilities = softmax(logits).astype(np.float32)
    temperature = fit_temperature(probabilities, truth)
    result = scaled(probabilities, temperature)
    grid = [log_loss(scaled(probabilities, other), truth) for other in np.geomspace(COLDEST, HOTTEST, 120)]
    assert log_loss(result, truth) <= min(*grid, log_loss(probabilities, truth)) + 1e-6
    assert result.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(result.argmax(axis=1), probabilities.argmax(axis=1))


def test_a_known_distortion_is_undone():
    """Labels drawn from probabilities whose logits are then multiplied by three."""
    rng = np.random.default_rng(1)
    honest = rng.dirichlet(np.ones(3), 4000)
    truth = np.array([rng.choice(3, p=row) for row in honest])
    assert fit_temperature(softmax(3 * np.log(honest)).astype(np.float32), truth) == pytest.approx(3, rel=0.1)
