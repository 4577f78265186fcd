"""mixup and cutmix depend on (seed, epoch, row) only, and the share of cutmix is the area outside the box."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.loading.mixup import cutmix, draw_mix

SEEDS = [(3, 1, row) for row in (5, 2, 9, 7)]
ALL = np.ones(4, bool)


@given(seed=st.integers(0, 10_000), size=st.integers(8, 64))
def test_the_share_of_cutmix_is_the_area_outside_the_box(seed, size):
    share, (top, bottom, left, right) = cutmix(np.random.default_rng(seed), 1.0, size)
    assert 0 <= top <= bottom <= size and 0 <= left <= right <= size
    outside = np.ones((size, size))
    outside[top:bottom, left:right] = 0
    assert share == pytest.approx(outside.mean())


def test_a_rows_draw_does_not_depend_on_the_other_rows():
    drawn = draw_mix("mixup", 0.4, 32, SEEDS, ALL)
    reverse = draw_mix("mixup", 0.4, 32, SEEDS[::-1], ALL)
    assert drawn.share.tolist() == reverse.share[::-1].tolist() and drawn.cut is None
    assert drawn.partner.tolist() == reverse.partner[::-1].tolist()
    later = draw_mix("mixup", 0.4, 32, [(3, 2, row) for _, _, row in SEEDS], ALL)
    assert later.share.tolist() != drawn.share.tolist()


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_row_that_is_not_mixable_is_neither_mixed_nor_a_partner(kind):
    mixable = np.array([True, False, True, False])
    for epoch in range(30):
        drawn = draw_mix(kind, 1.0, 32, [(3, epoch, row) for _, _, row in SEEDS], mixable)
        for row in range(4):
            unmixed = drawn.partner[row] == row and drawn.share[row] == 1
            assert mixable[drawn.partner[row]] or unmixed
            assert unmixed if not mixable[row] else True
            if unmixed and kind == "cutmix" and not mixable[row]:
                assert not drawn.cut[row].any()


def test_mixup_draws_from_beta():
    seeds = [(1, 0, row) for row in range(2000)]
    shares = draw_mix("mixup", 0.5, 32, seeds, np.ones(2000, bool)).share
    # Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)).
    assert shares.mean() == pytest.approx(0.5, abs=0.03) and shares.var() == pytest.approx(1 / 8, abs=0.01)
