"""ECE by hand, against a slow loop, and as the sum over the bins of the reliability diagram."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored_rows import scores_frame

from pipeline_lib.artifacts.schemas import RELIABILITY_SCHEMA
from pipeline_lib.evaluation.plot_tables import reliability_table
from pipeline_lib.metrics.calibration import BINS, calibration_statistic, reliability_rows
from pipeline_lib.metrics.classification import ClassScores
from pipeline_lib.metrics.weighted import point


def ece(truth, probabilities):
    return point(calibration_statistic(ClassScores.of(truth, probabilities)), len(truth))[0]


def slow_ece(truth, probabilities, weights):
    """ECE by its definition, for each bin m = (m / 15, (m + 1) / 15] and each product."""
    total = 0.0
    for m in range(BINS):
        gap = 0.0
        for label, row, weight in zip(truth, probabilities, weights, strict=True):
            confidence = max(row)
            if m / BINS < confidence <= (m + 1) / BINS:
                gap += weight * (float(np.argmax(row) == label) - confidence)
        total += abs(gap)
    return total / sum(weights)


def test_hand_worked_table():
    truth = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.62, 0.38], [0.65, 0.35], [0.61, 0.39], [0.1, 0.9]])
    # (0.6, 0.667] has three with mean 0.6267, two of them correct; (0.867, 0.933] has one, correct, at 0.9.
    assert ece(truth, probabilities) == pytest.approx(3 / 4 * abs(2 / 3 - 1.88 / 3) + 1 / 4 * 0.1)
    rows = list(reliability_rows(ClassScores.of(truth, probabilities)))
    assert [row[::3] for row in rows] == [(9, 3), (13, 1)]
    assert rows[0][1:3] == pytest.approx((1.88 / 3, 2 / 3)) and rows[1][1:3] == pytest.approx((0.9, 1.0))


def test_probabilities_0_and_1_have_a_bin():
    assert ece(np.array([0, 1]), np.array([[1.0, 0.0], [1.0, 0.0]])) == 0.5
    assert [row[0] for row in reliability_rows(ClassScores.of(np.array([0]), np.array([[0.0, 0.0]])))] == [0]


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(2, 5))
def test_equals_a_slow_loop_under_any_weights(seed, count, num_classes):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, num_classes, count)
    probabilities = rng.dirichlet(np.full(num_classes, 0.3), count)
    weights = rng.integers(0, 3, (2, count)).astype(float)
    weights[:, 0] += 1
    result = calibration_statistic(ClassScores.of(truth, probabilities))(weights)
    assert result[:, 0] == pytest.approx([slow_ece(truth, probabilities, row) for row in weights])


@given(st.integers(0, 2**32 - 1))
def test_the_bins_add_up_to_the_figure(seed):
    rng = np.random.default_rng(seed)
    truth, probabilities = rng.integers(0, 3, 25), rng.dirichlet(np.ones(3), 25)
    rows = list(reliability_rows(ClassScores.of(truth, probabilities)))
    assert sum(count for *_, count in rows) == 25
    total = sum(abs(accuracy - confidence) * count for _, confidence, accuracy, count in rows)
    assert total / 25 == pytest.approx(ece(truth, probabilities))


def test_the_table_has_separate_rows_before_and_after_calibration():
    after = scores_frame()
    before = after.with_columns(predicted=pl.lit("cup"), confidence=pl.lit(0.9, pl.Float32))
    table = reliability_table(after, before, ["cup", "hat", "mug"])
    assert table.schema == RELIABILITY_SCHEMA
    # As float32, 0.6 and 0.8 are just above the edges 9 / 15 and 12 / 15.
    assert table.rows() == [
        ("oof", False, 13, 0.9, 0.5, 2),
        ("oof", True, 9, 0.6, 0.0, 1),
        ("oof", True, 12, 0.8, 1.0, 1),
    ]
    assert reliability_table(after, before.clear(), ["cup", "hat", "mug"])["calibrated"].all()
