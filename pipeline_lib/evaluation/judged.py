"""Figures of the queries that people have judged on the search page, from the scores of the judged products.

A query counts if one of its judged products is right. Queries are the units of the intervals.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.artifacts.schemas import JUDGED_QUERIES_SCHEMA
from pipeline_lib.evaluation.summary import DIGITS, Tree, merged, with_intervals
from pipeline_lib.metrics.graded import chance_ndcg, expected_ndcg, preference
from pipeline_lib.metrics.weighted import Counts, Statistic, weighted_means

DEPTH = 10
NDCG, PREFERENCE = f"nDCG@{DEPTH}", "preference"
# Figure -> its column of JUDGED_QUERIES_SCHEMA; the figure is the mean over the queries that have a value.
JUDGED_COLUMNS = {NDCG: "ndcg", PREFERENCE: "preference"}


@dataclass(frozen=True)
class JudgedQuery:
    """A query's judged products, with their scores and grades (1 = right, 0 = wrong), both (products,)."""

    query: str
    product_ids: Sequence[str]
    scores: NDArray[np.float64]
    grades: NDArray[np.float64]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Return which products are right, (products,)."""
        return self.grades > 0


def judged_table(queries: Iterable[JudgedQuery]) -> pl.DataFrame:
    """Return JUDGED_QUERIES_SCHEMA rows of the queries that have a right product."""
    rows = []
    for query in queries:
        right = query.right
        if not right.any():
            continue
        graded = sorted(zip(query.product_ids, query.grades.astype(int).tolist(), strict=True))
        order = np.lexsort((np.array(query.product_ids), -query.scores))
        rows.append(
            {
                "query": query.query,
                "ndcg": expected_ndcg(query.scores, query.grades, DEPTH),
                "preference": None if right.all() else preference(query.scores, right),
                "num_right": int(right.sum()),
                "num_wrong": int((~right).sum()),
                "fingerprint": hashlib.sha256(json.dumps(graded).encode()).hexdigest(),
                "ranked": [query.product_ids[place] for place in order.tolist()],
                "right": [product_id for product_id, grade in graded if grade],
            }
        )
    return pl.DataFrame(rows, schema=JUDGED_QUERIES_SCHEMA, orient="row")


def judged_figures(table: pl.DataFrame) -> tuple[Tree, Tree]:
    """Return the figures of JUDGED_QUERIES_SCHEMA rows, with `num_queries` and `num_with_both`, and their intervals.

    nDCG@10 is over the queries with a right product, preference over those that have a wrong one too. A figure without
    a query is left out.
    """
    measured = {name: table[column].drop_nulls().to_numpy() for name, column in JUDGED_COLUMNS.items()}
    figures: Tree = {"num_queries": table.height, "num_with_both": len(measured[PREFERENCE])}
    intervals: Tree = {}
    for name, values in measured.items():
        if len(values):
            figure, interval = with_intervals(mean_of(values), (name,), np.arange(len(values)))
            figures, intervals = figures | figure, intervals | interval
    if table.height:
        grades = [np.repeat([1.0, 0.0], counts) for counts in table.select("num_right", "num_wrong").iter_rows()]
        chance = np.mean([chance_ndcg(one, DEPTH) for one in grades])
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


def mean_of(values: NDArray[np.float64]) -> Statistic:
    """Return the statistic whose one figure is the mean of `values` (units,)."""
    column = values[:, None]

    def mean(counts: Counts) -> NDArray[np.float64]:
        return weighted_means(column, counts)

    return mean
