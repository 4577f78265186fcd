"""Nearest neighbours by hand, against a slow loop, and on a sample."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.evaluation.baselines import neighbours
from pipeline_lib.evaluation.baselines.neighbours import NEIGHBOURS, TEMPERATURE, neighbour_scores
from pipeline_lib.evaluation.baselines.trunk_features import unit
from pipeline_lib.metrics import top_k


def drawn(rng, rows):
    return unit(rng.normal(size=(rows, 5)).astype(np.float32))


def slow_scores(queries, known, truth, num_classes):
    scores = []
    for query in queries:
        cosines = [(float(query @ other), label) for other, label in zip(known, truth, strict=True)]
        row = [0.0] * num_classes
        for cosine, label in sorted(cosines, reverse=True)[:NEIGHBOURS]:
            row[label] += np.exp(cosine / TEMPERATURE)
        scores.append(np.array(row) / sum(row))
    return np.array(scores)


@given(st.integers(0, 2**32 - 1), st.integers(1, 50), st.integers(1, 1000))
@settings(max_examples=40)
def test_equals_a_slow_loop_for_any_block(seed, num_known, block_bytes):
    rng = np.random.default_rng(seed)
    queries, known, truth = drawn(rng, 7), drawn(rng, num_known), rng.integers(0, 3, num_known)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top_k, "BLOCK_BYTES", block_bytes)
        scores = neighbour_scores(queries, known, truth, 3, 0, np.arange(num_known))
    assert scores == pytest.approx(slow_scores(queries, known, truth, 3), abs=1e-4)


def test_hand_worked_neighbours():
    known = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32)
    result = neighbour_scores(np.array([[1, 0]], np.float32), known, np.array([0, 1, 1]), 2, 0, np.arange(3))
    # The weights are e ** (-0.4 / 0.07) and e ** (-1 / 0.07), relative to 1.
    rest = np.exp(-0.4 / 0.07) + np.exp(-1 / 0.07)
    assert result[0] == pytest.approx([1 / (1 + rest), rest / (1 + rest)], rel=1e-4)


def test_above_the_limit_a_seeded_sample_is_searched(monkeypatch):
    monkeypatch.setattr(neighbours, "MAX_KNOWN", 30)
    rng = np.random.default_rng(0)
    queries, known, truth = drawn(rng, 5), drawn(rng, 300), rng.integers(0, 3, 300)
    sample = np.sort(np.random.default_rng(4).choice(300, 30, replace=False))
    scores = neighbour_scores(queries, known, truth, 3, 4, np.arange(300))
    assert scores == pytest.approx(slow_scores(queries, known[sample], truth[sample], 3), abs=1e-4)
    assert not np.allclose(scores, neighbour_scores(queries, known, truth, 3, 5, np.arange(300)))


def test_of_equally_near_products_those_with_the_first_ids_count():
    """30 equal products, of which the 20 with the first ids are of class 1, in any order of the rows."""
    known, truth = np.ones((30, 4), np.float32) / 2, np.array([1] * NEIGHBOURS + [0] * 10)
    for order in (np.arange(30), np.arange(30)[::-1], np.random.default_rng(1).permutation(30)):
        scores = neighbour_scores(known[:3], known, truth[order], 2, 0, order)
        assert scores.tolist() == [[0, 1]] * 3
