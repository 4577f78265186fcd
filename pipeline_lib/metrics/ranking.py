"""Retrieval metrics of a list of ranks: the hit rates R@k, their mean, median rank and mean rank.

A hit at k is an expected rank of at most k. With ties the expected rank can be a fraction: if three products tie for
the top and one of them is relevant, its rank is 2, which is no hit at 1. So a model gains nothing from ties.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.metrics.weighted import Counts, Statistic, point, weighted_means, weighted_medians

CUTOFFS = (1, 5, 10)
RANK_FIGURES = (*(f"R@{k}" for k in CUTOFFS), "MeanRecall", "median_rank", "mean_rank")
# Figures for which a lower value is better.
LOWER_IS_BETTER = ("median_rank", "mean_rank")

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
    """Return RANK_FIGURES by name for the ranks (queries,).

    >>> rank_figures(np.array([1.0, 4.0, 10.5]))["R@5"] == 2 / 3
    True
    """
    return dict(zip(RANK_FIGURES, point(rank_statistic(ranks), len(ranks)).tolist(), strict=True))


def recall_curve(ranks: Ranks, cutoffs: Sequence[int]) -> list[float]:
    """Return the share of queries with a rank of at most k, for each k."""
    ordered = np.sort(ranks)
    hits = np.searchsorted(ordered, np.asarray(cutoffs), side="right")
    return [int(count) / len(ranks) for count in hits]
