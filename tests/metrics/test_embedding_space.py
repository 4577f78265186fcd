"""Alignment, uniformity, modality gap, hubness and the plane: hand-worked values, slow loops, invariances."""

import math

import numpy as np
import pytest

from pipeline_lib.metrics import embedding_space
from pipeline_lib.metrics.embedding_space import (
    alignment,
    modality_gap,
    negative_pairs,
    pair_cosines,
    principal_plane,
    sampled_rows,
    skewness,
    uniformity,
    unit_rows,
)
from pipeline_lib.metrics.relevance import positions_from_pairs

RNG = np.random.default_rng(4)
ROWS = RNG.normal(size=(37, 5)).astype(np.float32)
OTHERS = RNG.normal(size=(11, 5)).astype(np.float32)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(embedding_space, "BLOCK", 8)
    monkeypatch.setattr(embedding_space, "PAIRS", 8)


def unit(row):
    return [value / math.sqrt(sum(float(one) ** 2 for one in row)) for value in map(float, row)]


def distance(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(unit(a), unit(b), strict=True)))


def test_a_worked_square():
    """Four points at right angles: two pairs are opposite (d = 2), four are at right angles (d^2 = 2)."""
    square = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float32)
    assert uniformity(square) == pytest.approx(math.log((4 * math.exp(-4) + 2 * math.exp(-8)) / 6))
    # Cosines 1, 0 and -1 are squared distances 0, 2 and 4.
    assert alignment(np.array([1.0, 0.0, -1.0])) == 2.0
    assert modality_gap(square[:1], square[2:3]) == 2.0
    assert modality_gap(square[:2], square[2:]) == pytest.approx(math.sqrt(2))
    assert modality_gap(square, square) == 0.0


def test_uniformity_of_one_point_is_zero_and_of_any_points_is_lower():
    assert uniformity(np.ones((5, 3), np.float32)) == pytest.approx(0, abs=1e-12)
    assert uniformity(ROWS) < uniformity(ROWS + 3) < 0


def test_uniformity_equals_a_loop_over_pairs(small_blocks):
    pairs = [math.exp(-2 * distance(ROWS[i], ROWS[j]) ** 2) for i in range(37) for j in range(i)]
    assert uniformity(ROWS) == pytest.approx(math.log(sum(pairs) / len(pairs)), rel=1e-6)


def test_pair_cosines_and_alignment_equal_a_loop(small_blocks):
    query, product = RNG.integers(0, 37, 50), RNG.integers(0, 11, 50)
    cosines = pair_cosines(ROWS, OTHERS, query, product)
    slow = [
        sum(a * b for a, b in zip(unit(ROWS[i]), unit(OTHERS[j]), strict=True))
        for i, j in zip(query, product, strict=True)
    ]
    assert cosines == pytest.approx(slow, abs=1e-6)
    squared = [distance(ROWS[i], OTHERS[j]) ** 2 for i, j in zip(query, product, strict=True)]
    assert alignment(cosines) == pytest.approx(np.mean(squared), rel=1e-6)


def test_each_row_is_normalised_once_however_many_pairs_it_is_in(monkeypatch):
    query, product = np.divmod(np.arange(37 * 11), 11)
    normalised = []
    monkeypatch.setattr(embedding_space, "unit_rows", lambda rows: normalised.append(len(rows)) or unit_rows(rows))
    cosines = pair_cosines(ROWS, OTHERS, query, product)
    assert normalised == [37, 11]
    assert cosines.tobytes() == (unit_rows(ROWS[query]) * unit_rows(OTHERS[product])).sum(axis=1).tobytes()


def test_modality_gap_equals_a_loop_and_is_symmetric(small_blocks):
    means = [[sum(unit(row)[k] for row in rows) / len(rows) for k in range(5)] for rows in (ROWS, OTHERS)]
    assert modality_gap(ROWS, OTHERS) == pytest.approx(math.dist(*means), rel=1e-6)
    assert modality_gap(OTHERS, ROWS) == pytest.approx(modality_gap(ROWS, OTHERS))


def test_lengths_and_rotations_change_nothing():
    rotation, _ = np.linalg.qr(RNG.normal(size=(5, 5)))
    lengths = RNG.uniform(0.5, 3, size=(37, 1))
    moved = lengths * ROWS @ rotation
    assert uniformity(moved) == pytest.approx(uniformity(ROWS), rel=1e-5)
    assert modality_gap(moved, OTHERS @ rotation) == pytest.approx(modality_gap(ROWS, OTHERS), rel=1e-5)


def test_skewness_of_worked_counts():
    """0, 0, 0, 4 have mean 1, variance 3 and third moment (3 x -1 + 27) / 4 = 6: 6 / 3^1.5."""
    assert skewness(np.array([0, 0, 0, 4])) == pytest.approx(6 / 3**1.5)
    assert skewness(np.array([0, 4, 4, 4])) == pytest.approx(-6 / 3**1.5)
    assert skewness(np.array([1, 2, 3])) == pytest.approx(0)
    assert skewness(np.array([2, 2, 2])) is None


def test_negative_pairs_are_all_pairs_but_the_positive_ones():
    positives = positions_from_pairs([0, 0, 1, 2], [1, 3, 0, 3], 3)
    query, product = negative_pairs(positives, 4, 100, 1)
    assert list(zip(query, product, strict=True)) == [
        (q, p) for q in range(3) for p in range(4) if (q, p) not in {(0, 1), (0, 3), (1, 0), (2, 3)}
    ]


def test_drawn_negatives_are_no_positives_and_spread_over_all_pairs():
    positives = positions_from_pairs(range(60), range(60), 60)
    query, product = negative_pairs(positives, 60, 2_000, 1)
    assert not (query == product).any()
    assert 1_900 < len(query) <= 2_000
    assert np.array_equal(query, negative_pairs(positives, 60, 2_000, 1)[0])
    assert np.bincount(query, minlength=60).min() > 10 and np.bincount(product, minlength=60).min() > 10


def test_samples_are_ascending_without_repeats_and_depend_on_the_seed_alone():
    assert sampled_rows(5, 5, 0).tolist() == [0, 1, 2, 3, 4]
    rows = sampled_rows(1_000, 50, 3)
    assert len(set(rows)) == 50 and (np.diff(rows) > 0).all()
    assert np.array_equal(rows, sampled_rows(1_000, 50, 3)) and not np.array_equal(rows, sampled_rows(1_000, 50, 4))


def test_the_plane_of_flat_points_keeps_their_distances_and_all_variance():
    flat = RNG.normal(size=(20, 2)) * [3, 1]
    basis, _ = np.linalg.qr(RNG.normal(size=(6, 6)))
    plane = principal_plane(flat @ basis[:2] + 7)
    assert plane.explained == pytest.approx(1)
    for i in range(20):
        for j in range(i):
            assert math.dist(plane.points[i], plane.points[j]) == pytest.approx(math.dist(flat[i], flat[j]))


def test_the_plane_equals_a_singular_value_decomposition_up_to_sign():
    centred = ROWS.astype(np.float64) - ROWS.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    plane = principal_plane(ROWS.astype(np.float64))
    assert np.abs(plane.points) == pytest.approx(np.abs(left[:, :2] * sizes[:2]), abs=1e-5)
    assert plane.explained == pytest.approx(float((sizes[:2] ** 2).sum() / (sizes**2).sum()), rel=1e-5)


def test_vectors_of_one_number_and_equal_vectors_have_a_plane():
    assert principal_plane(np.array([[1.0], [3.0]])).points.tolist() == [[-1, 0], [1, 0]]
    same = principal_plane(np.ones((3, 4)))
    assert np.abs(same.points).max() == 0 and same.explained == 0
