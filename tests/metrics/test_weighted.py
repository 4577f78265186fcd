"""Weighted means equal those of repeated values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.metrics.weighted import point, weighted_means


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=20), st.integers(0, 2**32 - 1))
def test_the_weighted_mean_is_that_of_the_repeated_values(values, seed):
    values = np.array(values, float)
    counts = np.random.default_rng(seed).integers(0, 3, (4, len(values))).astype(float)
    counts[:, 0] += 1
    expected = [np.mean(np.repeat(values, row.astype(int))) for row in counts]
    assert weighted_means(values[:, None], counts)[:, 0] == pytest.approx(expected)


def test_point_is_the_statistic_of_the_sample():
    values = np.array([[1.0, 0.0], [2.0, 1.0], [6.0, 2.0]])
    assert point(lambda counts: weighted_means(values, counts), 3).tolist() == [3.0, 1.0]
