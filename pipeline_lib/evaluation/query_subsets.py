"""Figures of text queries among their subset alone: the answer beside its hard negatives, which a table names.

R_subset@1 is counted as CIRR's (Liu et al. 2021, arXiv:2108.04024). With one hard negative it is the share of queries
that are nearer to their answer than to it, and chance is one half.
"""

from functools import partial
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.read import read_table
from pipeline_lib.evaluation.composed_protocols import MIN_SLICE
from pipeline_lib.evaluation.jackknife import clusters
from pipeline_lib.evaluation.summary import DIGITS, Tree, with_intervals
from pipeline_lib.metrics.gallery_ranks import SUBSET
from pipeline_lib.metrics.ranking import chance_of, ranks_of
from pipeline_lib.metrics.weighted import weighted_means

FIGURE = "R_subset@1"


def read_subsets(catalogue: Path) -> pl.DataFrame | None:
    """Return query_id and product_id of the subsets of a catalogue's text queries; None if no query names one."""
    queries = read_table(catalogue / "queries.parquet", ("query_id", "kind", "subset"))
    named = queries.filter(pl.col("kind") == "text", pl.col("subset").list.len() > 0)
    return named.select("query_id", product_id="subset").explode("product_id") if named.height else None


def query_subset_trees(ranks: pl.DataFrame, slices: pl.DataFrame) -> tuple[Tree, Tree]:
    """Return {split: {retrieval: {text_to_image: figures}}} of the ranks with the direction SUBSET, and of [low, high].

    Figures are FIGURE, num_subset_queries, `chance`, and the same of `slices`, which have at least MIN_SLICE such
    queries. Equal scores count by their expectation.
    """
    figures: Tree = {}
    intervals: Tree = {}
    for (split,), part in ranks.filter(pl.col("direction") == SUBSET).group_by("split", maintain_order=True):
        value, span = _figures(part)
        named = part.join(slices, on="query_id", maintain_order="left").sort("slice").group_by("slice")
        trees = {str(name): _figures(own) for (name,), own in named if own.height >= MIN_SLICE}
        for target, whole, place in ((figures, value, 0), (intervals, span, 1)):
            of_slices = {"slices": {name: trees[name][place] for name in sorted(trees)}} if trees else {}
            target[str(split)] = {"retrieval": {"text_to_image": whole | of_slices}}
    return figures, intervals


def _figures(rows: pl.DataFrame) -> tuple[Tree, Tree]:
    hits = ranks_of(rows).hits(1)[:, None]
    values, spans = with_intervals(partial(weighted_means, hits), [FIGURE], clusters(rows["group_id"]))
    chance = round(float(chance_of(rows).hits(1).mean()), DIGITS)
    return values | {"num_subset_queries": rows.height, "chance": {FIGURE: chance}}, spans
