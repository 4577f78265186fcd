"""Compares the ranks of two runs: a paired jackknife over the queries of both; a group's queries count as one."""

import polars as pl

from pipeline_lib.evaluation.jackknife import clusters, paired_differences
from pipeline_lib.experiments.compare.pairing import COMPARISON_SCHEMA, paired, unmatched, verdict
from pipeline_lib.metrics.ranking import LOWER_IS_BETTER, RANK_FIGURES, rank_statistic, ranks_of
from pipeline_lib.metrics.weighted import point

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
    rows = []
    for (split, direction), part in paired(ranks_a, ranks_b, KEY).group_by("split", "direction", maintain_order=True):
        other = part.select(pl.col(f"{name}_b").alias(name) for name in TIED)
        first, second = (rank_statistic(ranks_of(table)) for table in (part, other))
        values_a, values_b = point(first, part.height), point(second, part.height)
        differences = paired_differences(first, second, clusters(part["group_id"]))
        for metric, a, b, gain in zip(RANK_FIGURES, values_a, values_b, differences, strict=True):
            result = verdict(gain.low, gain.high, metric in LOWER_IS_BETTER)
            rows.append((split, direction, metric, a, b, gain.difference, gain.low, gain.high, result))
    return pl.DataFrame(rows, schema=COMPARISON_SCHEMA, orient="row")
