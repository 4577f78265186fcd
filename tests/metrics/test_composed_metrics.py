"""Ranks and average precision of composed queries: by hand, over all orders of ties, and by another implementation."""

from itertools import permutations

import numpy as np
import pytest

from pipeline_lib.metrics.composed import (
    average_precisions,
    best_positions,
    chance_precisions,
    changed_answers,
    query_chunks,
    tied_rank,
    vector_scores,
)
from pipeline_lib.metrics.tied_ranks import TiedRanks


def precision_of(order, right, k):
    """AP@K of a list of items, as CIRCO's evaluation.py counts it."""
    labels = np.array([item in right for item in order[:k]], dtype=float)
    precisions = np.cumsum(labels) * labels / np.arange(1, len(labels) + 1)
    return float(precisions.sum()) / min(len(right), k)


def precisions(scores, right, cutoffs):
    scores = np.array(scores, float)
    wrong = np.sort(np.delete(scores, right))
    return average_precisions(scores[right], wrong, cutoffs)


def test_a_hand_worked_average_precision():
    # Ranked: right, wrong, right, wrong, wrong, right. P = 1, 2/3, 1/2.
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    expected = [(1 + 0) / 2, (1 + 2 / 3) / 3, (1 + 2 / 3) / 3, (1 + 2 / 3 + 3 / 6) / 3]
    assert precisions(scores, [0, 2, 5], (2, 3, 5, 50)) == pytest.approx(expected, abs=1e-12)
    # Two right answers of which the first cut-off can hold one: the denominator is 1.
    assert precisions(scores, [0, 1], (1, 2)) == [1.0, 1.0]


def test_ties_are_the_mean_over_all_their_orders():
    """Every order of seven items with three levels of scores, for every choice of right answers of a kind."""
    levels = np.array([2, 2, 1, 1, 1, 0, 0])
    for right in ([0, 2, 5], [1], [2, 3], [5, 6], [0, 1, 2, 3, 4]):
        found = np.zeros((4, 2))
        orders = [order for order in permutations(range(7)) if np.all(np.diff(levels[list(order)]) <= 0)]
        assert len(orders) == 2 * 6 * 2
        for order in orders:
            first = min(order.index(item) for item in right) + 1
            found += [[precision_of(order, right, k), float(first <= k)] for k in (1, 2, 4, 6)]
        expected = found / len(orders)
        assert precisions(levels, right, (1, 2, 4, 6)) == pytest.approx(expected[:, 0].tolist(), abs=1e-12)
        rank = tied_rank(levels[right].astype(float), np.sort(np.delete(levels, right)).astype(float))
        tied = TiedRanks(*(np.array([one]) for one in (rank.higher, rank.right, rank.wrong)))
        hits = [float(tied.hits(k)[0]) for k in (1, 2, 4, 6)]
        assert hits == pytest.approx(expected[:, 1].tolist(), abs=1e-12)


def test_random_rankings_with_several_targets_equal_another_implementation():
    rng = np.random.default_rng(1)
    for _ in range(300):
        scores = rng.normal(size=60)
        right = rng.choice(60, rng.integers(1, 15), replace=False).tolist()
        order = np.argsort(-scores).tolist()
        expected = [precision_of(order, right, k) for k in (5, 10, 25, 50)]
        assert precisions(scores, right, (5, 10, 25, 50)) == pytest.approx(expected, abs=1e-9)
        rank = tied_rank(scores[right], np.sort(np.delete(scores, right)))
        assert (rank.higher, rank.right, rank.wrong) == (min(map(order.index, right)), 1, 0)


def test_chance_is_the_figure_of_equal_scores_and_the_mean_of_random_orders():
    equal = precisions([0.5] * 20, [3, 7, 11], (5, 10, 50))
    assert chance_precisions(3, 20, (5, 10, 50)) == pytest.approx(equal, abs=1e-12)
    rng = np.random.default_rng(0)
    drawn = [precision_of(rng.permutation(20).tolist(), [3, 7, 11], 10) for _ in range(4000)]
    assert equal[1] == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / np.sqrt(4000))


@pytest.mark.parametrize("vectors", [1, 5])
def test_scores_are_the_largest_inner_product_over_the_vectors_block_by_block(monkeypatch, vectors):
    monkeypatch.setattr("pipeline_lib.metrics.composed.BLOCK_BYTES", 2000)
    rng = np.random.default_rng(vectors)
    queries, targets = rng.normal(size=(4, 6)).astype(np.float32), rng.normal(size=(23, vectors, 6)).astype(np.float32)
    score = vector_scores(queries, targets)
    slow = [[max(float(q.astype(float) @ v.astype(float)) for v in vs) for vs in targets] for q in queries]
    np.testing.assert_allclose(score(slice(0, 4)), slow, atol=1e-12)
    np.testing.assert_allclose(score(slice(1, 3)), slow[1:3], atol=1e-12)
    with pytest.raises(ValueError, match=r"queries \(4, 6\) and targets \(23, \d, 5\) must have the same width"):
        vector_scores(queries, targets[..., :5])


def test_the_best_positions_are_those_of_a_full_sort_with_ties_by_place():
    rng = np.random.default_rng(5)
    places = rng.permutation(40)
    for _ in range(50):
        scores = rng.integers(0, 6, 40) / 7 + rng.choice([0, 1e-16], 40)  # rounding decides nothing
        scores[rng.choice(40, 5, replace=False)] = -np.inf
        levels = np.rint(scores * 7)
        expected = sorted(np.flatnonzero(scores > -np.inf), key=lambda at: (-levels[at], places[at]))
        for depth in (1, 7, 35, 60):
            assert best_positions(scores, depth, places).tolist() == expected[:depth]
    assert best_positions(np.full(3, -np.inf), 2, np.arange(3)).tolist() == []


def test_score_rows_in_memory_are_bounded_whatever_the_gallery():
    parts = list(query_chunks(1000, 1_000_000))
    assert max(part.stop - part.start for part in parts) * 8_000_000 <= 128 << 20
    assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]] and parts[-1].stop == 1000
    assert len(list(query_chunks(2, 10**9))) == 2 and list(query_chunks(0, 5)) == []


def test_changed_answers_of_paraphrases():
    # Group x: of three pairs two differ; y: equal; z is alone.
    assert changed_answers(["a", "a", "b", "c", "c", "d"], ["x", "x", "x", "y", "y", "z"]) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="no group has two queries"):
        changed_answers(["a"], ["x"])
