"""nDCG with ties and preference of judged products: by hand, against all orders and a slow loop over pairs."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.metrics.graded import chance_ndcg, expected_ndcg, preference

GRADED = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=6)
SECOND, THIRD = 1 / math.log2(3), 0.5


def columns(products):
    scores, gains = np.array(products, np.float64).T
    return scores, gains


def slow_ndcg(scores, gains, k):
    """The mean over every order of the products that sorts the scores."""
    found = []
    for order in itertools.permutations(range(len(scores))):
        if all(scores[one] >= scores[other] for one, other in itertools.pairwise(order)):
            found.append(sum(gains[row] / math.log2(place + 2) for place, row in enumerate(order[:k])))
    ideal = sum(gain / math.log2(place + 2) for place, gain in enumerate(sorted(gains, reverse=True)[:k]))
    return sum(found) / len(found) / ideal


@pytest.mark.parametrize(
    ("scores", "gains", "k", "expected"),
    [
        ([0.9, 0.5, 0.1], [1, 0, 0], 10, 1),
        ([0.9, 0.5, 0.1], [0, 1, 0], 10, SECOND),
        ([0.9, 0.5, 0.1], [0, 0, 1], 2, 0),  # third, but only two places count
        ([0.5, 0.5, 0.1], [1, 0, 0], 10, (1 + SECOND) / 2),
        ([0.5, 0.5, 0.5], [1, 0, 0], 10, (1 + SECOND + THIRD) / 3),
        ([0.5, 0.5, 0.5], [1, 0, 0], 1, 1 / 3),
        ([0.9, 0.5, 0.1], [1, 0, 1], 10, (1 + THIRD) / (1 + SECOND)),
        ([0.1, 0.9], [3, 1], 10, (1 + 3 * SECOND) / (3 + SECOND)),
        ([0.4, 0.2], [1, 1], 10, 1),
    ],
)
def test_hand_worked_rankings(scores, gains, k, expected):
    assert expected_ndcg(np.array(scores), np.array(gains, np.float64), k) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(GRADED, st.integers(1, 7))
def test_ndcg_is_the_mean_over_all_orders_of_equal_scores(products, k):
    scores, gains = columns(products)
    if not gains.any():
        with pytest.raises(ValueError, match="gain above 0"):
            expected_ndcg(scores, gains, k)
        return
    assert expected_ndcg(scores, gains, k) == pytest.approx(slow_ndcg(scores, gains, k), abs=1e-12)
    assert chance_ndcg(gains, k) == pytest.approx(slow_ndcg(np.zeros(len(gains)), gains, k), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(GRADED)
def test_preference_equals_a_loop_over_pairs_and_turns_round_with_the_scores(products):
    scores, grades = columns(products)
    right = grades > 0
    if right.all() or not right.any():
        with pytest.raises(ValueError, match="make no pair"):
            preference(scores, right)
        return
    pairs = [(good > bad) + (good == bad) / 2 for good in scores[right] for bad in scores[~right]]
    assert preference(scores, right) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    assert preference(scores, right) + preference(-scores, right) == pytest.approx(1, abs=1e-12)


def test_the_order_of_the_products_does_not_matter():
    rng = np.random.default_rng(5)
    scores, gains = rng.integers(0, 4, 30).astype(float), rng.integers(0, 2, 30).astype(float)
    order = rng.permutation(30)
    assert expected_ndcg(scores[order], gains[order], 10) == pytest.approx(expected_ndcg(scores, gains, 10), abs=1e-12)
    assert preference(scores[order], gains[order] > 0) == pytest.approx(preference(scores, gains > 0), abs=1e-12)
