"""Retrieval metrics of ranks without ties: by hand, against numpy, and under weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.metrics.ranking import RANK_FIGURES, rank_figures, rank_statistic, recall_curve
from pipeline_lib.metrics.tied_ranks import untied

RANKS = st.lists(st.integers(1, 30), min_size=1, max_size=30).map(np.array)


def test_hand_worked_table():
    figures = rank_figures(untied([1, 2, 5, 6, 10, 11, 100, 4]))
    assert figures == {
        "R@1": 1 / 8,
        "R@5": 4 / 8,
        "R@10": 6 / 8,
        "MeanRecall": pytest.approx((1 / 8 + 4 / 8 + 6 / 8) / 3),
        "median_rank": 5.5,
        "mean_rank": pytest.approx(139 / 8),
    }


def test_the_published_mean_recall_is_reproduced():
    # MUGE valid, CN-CLIP ViT-B/16 zero-shot: 52.1 - 76.7 - 84.4 gives 71.1.
    ranks = np.repeat([1.0, 5.0, 10.0, 11.0], [521, 246, 77, 156])
    assert round(100 * rank_figures(untied(ranks))["MeanRecall"], 1) == 71.1


@given(RANKS)
def test_figures_equal_numpy(ranks):
    figures = rank_figures(untied(ranks))
    assert figures["median_rank"] == np.median(ranks)
    assert figures["mean_rank"] == pytest.approx(ranks.mean())
    for k in (1, 5, 10):
        assert figures[f"R@{k}"] == pytest.approx((ranks <= k).mean())


@given(RANKS, st.integers(0, 2**32 - 1))
def test_weights_equal_repeated_queries(ranks, seed):
    counts = np.random.default_rng(seed).integers(0, 4, (3, len(ranks))).astype(float)
    counts[:, 0] += 1
    figures = rank_statistic(untied(ranks))(counts)
    for row, weights in zip(figures, counts, strict=True):
        repeated = rank_figures(untied(np.repeat(ranks, weights.astype(int))))
        assert row == pytest.approx([repeated[name] for name in RANK_FIGURES])


@given(RANKS)
def test_the_curve_rises_through_the_cutoffs(ranks):
    curve = recall_curve(untied(ranks), range(1, 31))
    assert curve == sorted(curve)
    assert curve[-1] == 1
    figures = rank_figures(untied(ranks))
    assert [curve[0], curve[4], curve[9]] == pytest.approx([figures[f"R@{k}"] for k in (1, 5, 10)])
