"""Compares the ranks of two runs over the queries of both, by a paired jackknife; a group's queries count as one."""

from typing import Any

import polars as pl

from pipeline_lib.evaluation.intervals import median_difference
from pipeline_lib.evaluation.jackknife import clusters, paired_differences
from pipeline_lib.experiments.compare.pairing import COMPARISON_SCHEMA, comparison_rows, paired, unmatched
from pipeline_lib.metrics.ranking import RANK_FIGURES, rank_statistic, ranks_of

# What the ranks of one run are computed from; the other run has the same columns with the suffix _b.
TIED = ("rank", "tied_right", "tied_wrong")
KEY = ("split", "direction", "fold", "query_id")


def compare_queries(ranks_a: pl.DataFrame, ranks_b: pl.DataFrame) -> pl.DataFrame:
    """Return COMPARISON_SCHEMA rows: for each split, direction and figure, b minus a, its interval and the verdict.

    Both tables are `ranks.parquet` of a run. Raises ValueError if they do not hold the same queries, because a mean
    over other queries is another figure.
    """
    missing, added = unmatched(ranks_a, ranks_b, KEY)
    if missing or added:
        raise ValueError(
            f"the runs do not have the same queries: {missing} only in a, {added} only in b, of {ranks_a.height} and "
            f"{ranks_b.height}; compare runs of one catalogue, split and plan.folds"
        )
    rows: list[tuple[Any, ...]] = []
    for (split, direction), part in paired(ranks_a, ranks_b, KEY).group_by("split", "direction", maintain_order=True):
        other = part.select(pl.col(f"{name}_b").alias(name) for name in TIED)
        a, b, groups = ranks_of(part), ranks_of(other), clusters(part["group_id"])
        systems = rank_statistic(a), rank_statistic(b)
        gains = dict(zip(RANK_FIGURES, paired_differences(*systems, groups), strict=True))
        gains["median_rank"] = median_difference(a, b, groups)
        rows += comparison_rows(str(split), str(direction), systems, gains, part.height)
    return pl.DataFrame(rows, schema=COMPARISON_SCHEMA, orient="row")
