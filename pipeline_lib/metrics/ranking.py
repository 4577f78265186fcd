"""Retrieval metrics of ranks: the hit rates R@k, their mean, median rank and mean rank.

Each is the expected figure over all orders of equal scores (see `tied_ranks`): if one right and two wrong products tie
for the top, the query counts with a third of a hit at 1.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.metrics.tied_ranks import TiedRanks, random_order, weighted_median_ranks
from pipeline_lib.metrics.weighted import Counts, Statistic, point, weighted_means

CUTOFFS = (1, 5, 10)
RANK_FIGURES = (*(f"R@{k}" for k in CUTOFFS), "MeanRecall", "median_rank", "mean_rank")
# Figures for which a lower value is better.
LOWER_IS_BETTER = ("median_rank", "mean_rank")


def rank_statistic(ranks: TiedRanks) -> Statistic:
    """Return the statistic of RANK_FIGURES over the ranks; MeanRecall is the mean of R@1, R@5 and R@10."""
    columns = np.stack([*(ranks.hits(k) for k in CUTOFFS), ranks.expected()], axis=1)

    def figures(counts: Counts) -> NDArray[np.float64]:
        means = weighted_means(columns, counts)
        hits, mean_rank = means[:, : len(CUTOFFS)], means[:, len(CUTOFFS) :]
        medians = weighted_median_ranks(ranks, counts)[:, None]
        return np.concatenate([hits, hits.mean(axis=1, keepdims=True), medians, mean_rank], axis=1)

    return figures


def rank_figures(ranks: TiedRanks) -> dict[str, float]:
    """Return RANK_FIGURES by name.

    >>> tied = TiedRanks(*(np.array(column) for column in ([0, 3, 9], [1, 1, 1], [0, 0, 1])))
    >>> [round(rank_figures(tied)[name], 3) for name in ("R@5", "R@10", "mean_rank")]
    [0.667, 0.833, 5.167]
    """
    return dict(zip(RANK_FIGURES, point(rank_statistic(ranks), len(ranks)).tolist(), strict=True))


def recall_curve(ranks: TiedRanks, cutoffs: Sequence[int]) -> list[float]:
    """Return the expected share of queries with a right answer among the first k, for each k."""
    return [float(ranks.hits(k).mean()) for k in cutoffs]


def ranks_of(table: pl.DataFrame) -> TiedRanks:
    """Return the ranks of RANKS_SCHEMA rows."""
    rank, right, wrong = (table[name].to_numpy() for name in ("rank", "tied_right", "tied_wrong"))
    return TiedRanks(np.rint(rank - 1 - wrong / (right + 1)).astype(np.int64), right, wrong)


def chance_of(table: pl.DataFrame) -> TiedRanks:
    """Return the ranks that a random order of the same galleries gives the queries of RANKS_SCHEMA rows."""
    return random_order(table["num_gallery"].to_numpy(), table["num_right"].to_numpy())
