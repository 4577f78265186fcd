"""Figures of the queries that people have judged on the search page, from the scores of the judged products.

A query counts if one of its judged products is right. Queries are the units of the intervals.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.evaluation.summary import DIGITS, Tree, merged, with_intervals
from pipeline_lib.metrics.graded import chance_ndcg, expected_ndcg, preference
from pipeline_lib.metrics.weighted import Counts, Statistic, weighted_means

DEPTH = 10
NDCG, PREFERENCE = f"nDCG@{DEPTH}", "preference"


@dataclass(frozen=True)
class JudgedQuery:
    """Scores and grades (1 = right, 0 = wrong) of the judged products of a query, both (products,)."""

    scores: NDArray[np.float64]
    grades: NDArray[np.float64]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Return which products are right, (products,)."""
        return self.grades > 0


def judged_figures(queries: Sequence[JudgedQuery]) -> tuple[Tree, Tree]:
    """Return the figures of judged queries, with `num_queries` and `num_with_both`, and the tree of their intervals.

    nDCG@10 is over the queries with a right product, preference over those that have a wrong one too. A figure without
    a query is left out.
    """
    answered = [query for query in queries if query.right.any()]
    both = [query for query in answered if not query.right.all()]
    figures: Tree = {"num_queries": len(answered), "num_with_both": len(both)}
    intervals: Tree = {}
    measured = (
        (NDCG, [expected_ndcg(query.scores, query.grades, DEPTH) for query in answered]),
        (PREFERENCE, [preference(query.scores, query.right) for query in both]),
    )
    for name, values in measured:
        if values:
            figure, interval = with_intervals(_mean(values), (name,), np.arange(len(values)))
            figures, intervals = figures | figure, intervals | interval
    if answered:
        chance = np.mean([chance_ndcg(query.grades, DEPTH) for query in answered])
        figures["chance"] = {NDCG: round(float(chance), DIGITS)}
    return figures, intervals


def judged_trees(folds: Sequence[int]) -> tuple[Tree, Tree]:
    """Return {judged: {FOLD: figures}} of the folds of plan.judged, and the same tree of intervals; empty for none."""
    folders = {str(fold): paths.judged_of(fold) for fold in folds}
    figures, intervals = (
        merged(*({"judged": {fold: read_object(folder / name)}} for fold, folder in folders.items()))
        for name in (paths.JUDGED_FIGURES, paths.JUDGED_INTERVALS)
    )
    return figures, intervals


def _mean(values: Sequence[float]) -> Statistic:
    column = np.array(values)[:, None]

    def mean(counts: Counts) -> NDArray[np.float64]:
        return weighted_means(column, counts)

    return mean
