"""Figures of a list of ranks: hit rates, their mean, median and mean rank.

A hit is an expected rank of at most k. With ties an expected rank can be a fraction: three products that tie for the
first place with the one right among them have rank 2, no hit at 1. So a tie never counts as won.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.metrics.weighted import Counts, Statistic, point, weighted_means, weighted_medians

CUTOFFS = (1, 5, 10)
RANK_FIGURES = (*(f"R@{k}" for k in CUTOFFS), "MeanRecall", "median_rank", "mean_rank")
# For these less is better.
FALLING_FIGURES = ("median_rank", "mean_rank")

Ranks = NDArray[np.float64]


def rank_statistic(ranks: Ranks) -> Statistic:
    """Return the statistic of RANK_FIGURES over the ranks (queries,); MeanRecall is the mean of R@1, R@5 and R@10."""
    columns = np.stack([*((ranks <= k).astype(np.float64) for k in CUTOFFS), ranks], axis=1)

    def figures(counts: Counts) -> NDArray[np.float64]:
        means = weighted_means(columns, counts)
        hits, mean_rank = means[:, : len(CUTOFFS)], means[:, len(CUTOFFS) :]
        medians = weighted_medians(ranks, counts)[:, None]
        return np.concatenate([hits, hits.mean(axis=1, keepdims=True), medians, mean_rank], axis=1)

    return figures


def rank_figures(ranks: Ranks) -> dict[str, float]:
    """Return RANK_FIGURES of the ranks (queries,).

    >>> rank_figures(np.array([1.0, 4.0, 10.5]))["R@5"] == 2 / 3
    True
    """
    return dict(zip(RANK_FIGURES, point(rank_statistic(ranks), len(ranks)).tolist(), strict=True))


def recall_curve(ranks: Ranks, cutoffs: Sequence[int]) -> list[float]:
    """Return the share of queries with a rank of at most k, for each k."""
    ordered = np.sort(ranks)
    found = np.searchsorted(ordered, np.asarray(cutoffs), side="right")
    return [int(count) / len(ranks) for count in found]
