"""Retrieval figures of the slices of text queries that a data set names: what needs the order of frames, a language.

They have the form of the slices of composed queries. A slice is ranked in the same gallery as all queries.
"""

from typing import Any

import polars as pl

from pipeline_lib.evaluation.composed_protocols import MIN_SLICE
from pipeline_lib.evaluation.jackknife import clusters
from pipeline_lib.evaluation.summary import DIGITS, with_intervals
from pipeline_lib.metrics.ranking import CUTOFFS, RANK_FIGURES, chance_of, rank_statistic, ranks_of

Tree = dict[str, Any]
DIRECTION = "text_to_image"
FIGURES = tuple(f"R@{k}" for k in CUTOFFS)


def query_slice_trees(ranks: pl.DataFrame, slices: pl.DataFrame) -> tuple[Tree, Tree]:
    """Return {split: {retrieval: {text_to_image: {slices: {name: figures}, slices_left_out}}}}, and of [low, high].

    `ranks` are RANKS_SCHEMA rows, `slices` is the table query_slices. Figures are FIGURES, num_queries, num_gallery and
    `chance`. A slice with fewer than MIN_SLICE queries is counted in slices_left_out.
    """
    figures: Tree = {}
    intervals: Tree = {}
    named = ranks.filter(pl.col("direction") == DIRECTION).join(slices, on="query_id", maintain_order="left")
    for (split,), part in named.group_by("split", maintain_order=True):
        parts = {str(name): own for (name,), own in part.sort("slice").group_by("slice", maintain_order=True)}
        large = {name: _figures(own) for name, own in parts.items() if own.height >= MIN_SLICE}
        value = {"slices": {name: tree[0] for name, tree in large.items()}, "slices_left_out": len(parts) - len(large)}
        figures[str(split)] = {"retrieval": {DIRECTION: value}}
        spans = {"slices": {name: tree[1] for name, tree in large.items()}}
        intervals[str(split)] = {"retrieval": {DIRECTION: spans}}
    return figures, intervals


def _figures(rows: pl.DataFrame) -> tuple[Tree, Tree]:
    values, spans = with_intervals(rank_statistic(ranks_of(rows)), RANK_FIGURES, clusters(rows["group_id"]))
    sizes = {"num_queries": rows.height, "num_gallery": round(rows["num_gallery"].to_numpy().mean())}
    chance = {f"R@{k}": round(float(chance_of(rows).hits(k).mean()), DIGITS) for k in CUTOFFS}
    value = {name: values[name] for name in FIGURES} | sizes | {"chance": chance}
    return value, {name: spans[name] for name in FIGURES}
