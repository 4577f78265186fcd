"""Blends are drawn from (seed, epoch, row) alone, and the share is that of the box."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.loading.mixup import cutmix, draw_mix

SEEDS = [(3, 1, row) for row in (5, 2, 9, 7)]
ALL = np.ones(4, bool)


@given(seed=st.integers(0, 10_000), size=st.integers(8, 64))
def test_the_share_of_cutmix_is_what_the_box_leaves(seed, size):
    share, (top, bottom, left, right) = cutmix(np.random.default_rng(seed), 1.0, size)
    assert 0 <= top <= bottom <= size and 0 <= left <= right <= size
    picture = np.ones((size, size))
    picture[top:bottom, left:right] = 0
    assert share == pytest.approx(picture.mean())


def test_a_row_draws_the_same_whatever_stands_beside_it():
    whole = draw_mix("mixup", 0.4, 32, SEEDS, ALL)
    turned = draw_mix("mixup", 0.4, 32, SEEDS[::-1], ALL)
    assert whole.share.tolist() == turned.share[::-1].tolist() and whole.cut is None
    assert whole.partner.tolist() == turned.partner[::-1].tolist()
    later = draw_mix("mixup", 0.4, 32, [(3, 2, row) for _, _, row in SEEDS], ALL)
    assert later.share.tolist() != whole.share.tolist()


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_what_may_not_be_blended_stays_whole_and_is_in_no_other(kind):
    may = np.array([True, False, True, False])
    for epoch in range(30):
        drawn = draw_mix(kind, 1.0, 32, [(3, epoch, row) for _, _, row in SEEDS], may)
        for place in range(4):
            own = drawn.partner[place] == place and drawn.share[place] == 1
            assert may[drawn.partner[place]] or own
            assert own if not may[place] else True
            if own and kind == "cutmix" and not may[place]:
                assert not drawn.cut[place].any()


def test_mixup_draws_from_beta():
    seeds = [(1, 0, row) for row in range(2000)]
    shares = draw_mix("mixup", 0.5, 32, seeds, np.ones(2000, bool)).share
    # Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)).
    assert shares.mean() == pytest.approx(0.5, abs=0.03) and shares.var() == pytest.approx(1 / 8, abs=0.01)
