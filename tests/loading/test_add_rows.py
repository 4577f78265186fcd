"""Sums of the photos of each product."""

import numpy as np
import pytest

from pipeline_lib.loading.products import add_rows


@pytest.mark.parametrize("counts", [[1, 1, 1, 1], [3, 0, 1, 9], [0, 0, 40, 0], [0, 0, 0, 0]])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_sums_have_the_bits_of_a_slow_loop(counts, kind):
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(len(counts)), counts)
    # Of very different sizes, so that another order of the additions gives other bits.
    values = (rng.normal(size=(len(owner), 5)) * 10.0 ** rng.integers(-6, 6, (len(owner), 1))).astype(np.float32)
    sums = rng.normal(size=(len(counts), 5)).astype(kind)
    expected = sums.copy()
    for row, product in enumerate(owner):
        expected[product] += values[row]
    add_rows(sums, owner, values)
    assert sums.tobytes() == expected.tobytes()
