"""The ranks of two runs: a paired bootstrap over the queries both were asked, those of one group drawn together."""

import polars as pl

from pipeline_lib.evaluation.bootstrap import clusters, paired_differences
from pipeline_lib.experiments.compare.pairing import COMPARISON_SCHEMA, apart, paired, verdict
from pipeline_lib.metrics.ranking import FALLING_FIGURES, RANK_FIGURES, rank_statistic
from pipeline_lib.metrics.weighted import point

KEY = ("split", "direction", "fold", "query_id")


def compare_queries(ranks_a: pl.DataFrame, ranks_b: pl.DataFrame, resamples: int = 2000, seed: int = 7) -> pl.DataFrame:
    """Return COMPARISON_SCHEMA rows: for each split, direction and figure, b minus a, its interval and the verdict.

    Both frames are `ranks.parquet` of a run. Raises ValueError if they do not hold the same queries, because a mean
    over other queries is another figure.
    """
    missing, added = apart(ranks_a, ranks_b, KEY)
    if missing or added:
        raise ValueError(
            f"the runs were not asked the same queries: {missing} only in a, {added} only in b, of {ranks_a.height} "
            f"and {ranks_b.height}; compare runs of one catalogue, split and plan.folds"
        )
    rows = []
    for (split, direction), part in paired(ranks_a, ranks_b, KEY).group_by("split", "direction", maintain_order=True):
        first, second = (rank_statistic(part[column].to_numpy()) for column in ("rank", "rank_b"))
        values_a, values_b = point(first, part.height), point(second, part.height)
        differences = paired_differences(first, second, part.height, resamples, seed, clusters(part["group_id"]))
        for metric, a, b, found in zip(RANK_FIGURES, values_a, values_b, differences, strict=True):
            said = verdict(found.low, found.high, metric in FALLING_FIGURES)
            rows.append((split, direction, metric, a, b, found.difference, found.low, found.high, said))
    return pl.DataFrame(rows, schema=COMPARISON_SCHEMA, orient="row")
