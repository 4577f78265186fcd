"""Both means by hand and by a slow loop, and the limits of fitted weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.ensembling.means import MEANS, arithmetic_mean, geometric_mean


def log_loss(kind, members, truth, weights):
    fused = MEANS[kind].fuse(members, weights)
    return -np.log(np.maximum(fused[np.arange(len(truth)), truth], 1e-38)).mean(dtype=np.float64)


@st.composite
def cases(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_members, rows, classes = draw(st.integers(1, 4)), draw(st.integers(1, 30)), draw(st.integers(2, 4))
    members = rng.dirichlet(np.full(classes, draw(st.sampled_from([0.1, 1.0, 5.0]))), (num_members, rows))
    return members.astype(np.float32), rng.integers(0, classes, rows)


def test_hand_worked_means():
    members = np.array([[[0.8, 0.2]], [[0.2, 0.8]], [[0.5, 0.5]]], np.float32)
    weights = np.array([0.5, 0.25, 0.25])
    assert arithmetic_mean(members, weights)[0, 0] == pytest.approx(0.4 + 0.05 + 0.125)
    # Odds multiply: 4 ** 0.5 * (1 / 4) ** 0.25 * 1 = 2 ** 0.5.
    assert geometric_mean(members, weights)[0, 0] == pytest.approx(2**0.5 / (1 + 2**0.5))


def test_any_member_vetoes_a_geometric_mean_and_the_result_stays_a_distribution():
    members = np.array([[[0.9, 0.1, 0.0]], [[0.0, 0.1, 0.9]]], np.float32)
    assert geometric_mean(members)[0] == pytest.approx([0, 1, 0], abs=1e-6)
    assert geometric_mean(np.array([[[1.0, 0.0]], [[0.0, 1.0]]], np.float32))[0] == pytest.approx([0.5, 0.5])


@given(cases())
def test_equals_a_slow_loop(case):
    members, _ = case
    weights = np.random.default_rng(len(members)).dirichlet(np.ones(len(members)))
    mixed, pooled = arithmetic_mean(members, weights), geometric_mean(members, weights)
    for row in range(members.shape[1]):
        sums, products = [0.0] * members.shape[2], [1.0] * members.shape[2]
        for weight, member in zip(weights, members, strict=True):
            for c, value in enumerate(member[row].tolist()):
                sums[c] += weight * value
                products[c] *= value**weight
        assert mixed[row] == pytest.approx(sums, abs=1e-6)
        assert pooled[row] == pytest.approx(np.array(products) / sum(products), abs=1e-4)


@given(cases())
def test_without_weights_the_result_is_exactly_the_plain_mean(case):
    members, _ = case
    total = np.zeros(members.shape[1:], np.float64)
    for member in members:
        total += member
    assert np.array_equal(arithmetic_mean(iter(members)), (total / len(members)).astype(np.float32))


@pytest.mark.parametrize("kind", MEANS)
@given(case=cases())
@settings(max_examples=40)
def test_fitted_weights_lie_on_the_simplex_and_are_never_worse_than_equal_ones(kind, case):
    members, truth = case
    weights = MEANS[kind].fit(members, truth)
    assert weights.min() >= 0 and weights.sum() == pytest.approx(1)
    assert log_loss(kind, members, truth, weights) <= log_loss(kind, members, truth, None) + 1e-6


@pytest.mark.parametrize("kind", MEANS)
def test_no_point_of_a_fine_grid_is_better(kind):
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 3, 200)
    logits = rng.normal(size=(2, 200, 3)) + np.eye(3)[truth] * np.array([1.0, 2.0])[:, None, None]
    members = (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).astype(np.float32)
    best = min(log_loss(kind, members, truth, np.array([share, 1 - share])) for share in np.linspace(0, 1, 401))
    weights = MEANS[kind].fit(members, truth)
    assert log_loss(kind, members, truth, weights) <= best + 2e-6
    assert 0 < weights[0] < weights[1]


@pytest.mark.parametrize("kind", MEANS)
def test_a_useless_member_gets_no_weight(kind):
    truth = np.array([0, 1] * 50)
    good = np.where(np.eye(2)[truth] > 0, 0.9, 0.1)
    members = np.stack([good[:, ::-1], good]).astype(np.float32)
    assert MEANS[kind].fit(members, truth) == pytest.approx([0, 1], abs=1e-3)
