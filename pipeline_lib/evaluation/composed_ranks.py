"""Ranks the composed queries of one gallery: official ranks, soft answers, subsets, average precision, best products.

The caller plans the galleries, embeds `gallery.queries` and `gallery.products` in their order, and gives
`rank_composed` a function from a slice of the queries to their scores (`metrics.composed.vector_scores` makes one of
embeddings). Only a few rows of scores are in memory. `composed_protocols.composed_trees` turns the rows into figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts.schemas import COMPOSED_PRECISIONS, COMPOSED_RANKS_SCHEMA, RANKINGS_SCHEMA
from pipeline_lib.metrics.composed import (
    Score,
    TiedRank,
    average_precisions,
    best_positions,
    chance_precisions,
    query_chunks,
    tied_rank,
)
from pipeline_lib.metrics.tied_ranks import Values
from pipeline_lib.metrics.top_k import id_places
from pipeline_lib.splitting.composed_places import composed_places

Mask = NDArray[np.bool_]
Row = dict[str, Any]


@dataclass(frozen=True)
class GalleryRule:
    """Which products a query is ranked among: without its reference, and only those of its reference's label."""

    without_reference: bool = True
    same_label: bool = False


@dataclass(frozen=True)
class ComposedGallery:
    """Products (product_id, label, group_id) and composed queries (QUERIES rows) of one held-out fold, or of test.

    `relevance` has the query_id, product_id and grade above 0 of these queries. A query without any is ranked for
    prediction files only.
    """

    split: str
    fold: int | None
    products: pl.DataFrame
    queries: pl.DataFrame
    relevance: pl.DataFrame

    @property
    def name(self) -> str:
        """Return the folder name: `oof-<fold>` or `test`."""
        return self.split if self.fold is None else f"{self.split}-{self.fold}"

    @cached_property
    def product_ids(self) -> list[str]:
        """Return the products in the order of the columns of scores."""
        return self.products["product_id"].to_list()

    @cached_property
    def query_ids(self) -> list[str]:
        """Return the queries in the order of the rows of scores."""
        return self.queries["query_id"].to_list()

    @cached_property
    def positions(self) -> dict[str, int]:
        """Return the column of each product."""
        return {product_id: position for position, product_id in enumerate(self.product_ids)}

    @cached_property
    def answers(self) -> dict[str, dict[int, int]]:
        """Return the column and grade of the relevant products of each answered query."""
        found: dict[str, dict[int, int]] = {}
        for query_id, product_id, grade in self.relevance.select("query_id", "product_id", "grade").iter_rows():
            found.setdefault(query_id, {})[self.positions[product_id]] = grade
        return found


def plan_composed_galleries(
    products: pl.DataFrame, queries: pl.DataFrame, relevance: pl.DataFrame, folds: Sequence[int]
) -> list[ComposedGallery]:
    """Return the galleries of the listed folds, then that of test, each with the composed queries that are in it.

    `products` has product_id, label, group_id, split (train | test) and fold; `queries` and `relevance` are the
    catalogue's. A query is in the gallery that holds its reference, relevant products and subset (see
    `composed_places`). A gallery without a composed query is left out.
    """
    places = composed_places(queries, relevance, products.select("product_id", "split", "fold"))
    galleries = []
    for split, fold in [*(("oof", fold) for fold in folds), ("test", None)]:
        side = "train" if split == "oof" else "test"
        here = pl.col("split").eq(side) & pl.col("fold").eq_missing(pl.lit(fold, pl.Int64))
        there = pl.col("place_split").eq(side) & pl.col("place_fold").eq_missing(pl.lit(fold, pl.Int64))
        own = queries.join(places.filter(there), on="query_id", how="semi", maintain_order="left")
        if own.height:
            graded = relevance.filter(pl.col("grade") > 0).join(own, on="query_id", how="semi", maintain_order="left")
            members = products.filter(here).select("product_id", "label", "group_id")
            galleries.append(ComposedGallery(split, fold, members, own, graded))
    return galleries


def rank_composed(
    gallery: ComposedGallery, score: Score, rule: GalleryRule, retrieval: str, depth: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return COMPOSED_RANKS_SCHEMA rows of the answered queries, and RANKINGS_SCHEMA rows of the best `depth` of all.

    `score` gives the scores of a slice of `gallery.queries` with `gallery.products`. `retrieval` becomes the column
    `direction`. Raises ValueError for scores that are not finite, and for a query with no target that the rule leaves
    in the gallery.
    """
    places, labels = id_places(gallery.product_ids), np.array(gallery.products["label"].to_list(), dtype=object)
    rows, best = [], []
    fixed = {"split": gallery.split, "direction": retrieval, "fold": gallery.fold}
    for part in query_chunks(gallery.queries.height, len(places)):
        scores = score(part)
        if scores.shape != (part.stop - part.start, len(places)) or not np.isfinite(scores).all():
            raise ValueError(f"{retrieval}: scores {scores.shape} of queries {part.start}.. must be finite numbers")
        for query, own in zip(gallery.queries[part].iter_rows(named=True), scores, strict=True):
            own = _ranked(gallery, query, own, labels, rule)
            top = best_positions(own, max(depth, 1), places)
            best.append((query["query_id"], top[:depth], own[top[:depth]]))
            if query["query_id"] in gallery.answers:
                first = gallery.product_ids[int(top[0])]
                rows.append(fixed | _row(gallery, query, own, labels) | {"first_product_id": first})
    return pl.DataFrame(rows, schema=COMPOSED_RANKS_SCHEMA, orient="row"), _rankings(gallery, best)


def rank_subsets(gallery: ComposedGallery, score: Score, depth: int) -> pl.DataFrame:
    """Return RANKINGS_SCHEMA rows of the best `depth` products of each query's subset, without its reference."""
    places = id_places(gallery.product_ids)
    best = []
    for part in query_chunks(gallery.queries.height, len(places)):
        for query, own in zip(gallery.queries[part].iter_rows(named=True), score(part), strict=True):
            within = np.where(_subset_mask(gallery, query), own, -np.inf)
            top = best_positions(within, depth, places)
            best.append((query["query_id"], top, own[top]))
    return _rankings(gallery, best)


def _ranked(gallery: ComposedGallery, query: Row, scores: Values, labels: NDArray[Any], rule: GalleryRule) -> Values:
    """Return the scores of one query with -infinity for the products that it is not ranked among."""
    reference = gallery.positions[query["reference_product_id"]]
    left_out = labels != labels[reference] if rule.same_label else np.zeros(len(scores), dtype=np.bool_)
    left_out[reference] |= rule.without_reference
    targets = _targets(gallery.answers.get(query["query_id"], {}))
    if left_out[targets].any():
        raise ValueError(
            f"composed query {query['query_id']!r}: its target is not in the gallery of its reference "
            f"{query['reference_product_id']!r}: it has another label, or is the reference; correct the query, or "
            "choose another composed.protocol"
        )
    ranked: Values = np.where(left_out, -np.inf, scores)
    return ranked


def _targets(answers: dict[int, int]) -> list[int]:
    """Return the columns of the highest grade."""
    highest = max(answers.values(), default=0)
    return [column for column, grade in answers.items() if grade == highest]


def _row(gallery: ComposedGallery, query: Row, scores: Values, labels: NDArray[Any]) -> Row:
    """Return the columns of COMPOSED_RANKS_SCHEMA of one query; products with a score of -infinity are not ranked."""
    ranked = scores > -np.inf
    answers = {column: grade for column, grade in gallery.answers[query["query_id"]].items() if ranked[column]}
    targets, relevant = _targets(answers), list(answers)
    wrong = np.sort(scores[_without(ranked, relevant)])
    soft = np.setdiff1d(relevant, targets)
    others = np.sort(np.concatenate([wrong, scores[soft]]), kind="stable") if len(soft) else wrong
    num_gallery = int(ranked.sum())
    cutoffs = COMPOSED_PRECISIONS
    return {
        "query_id": query["query_id"],
        "num_gallery": num_gallery,
        "group_id": gallery.products["group_id"][targets[0]],
        "category": labels[gallery.positions[query["reference_product_id"]]],
        **_rank("", tied_rank(scores[targets], others), len(targets)),
        **_rank("answer_", tied_rank(scores[relevant], wrong), len(relevant)),
        **_subset_rank(gallery, query, scores, targets),
        "ap": average_precisions(scores[relevant], wrong, cutoffs),
        "chance_ap": chance_precisions(len(relevant), num_gallery, cutoffs),
    }


def _subset_rank(gallery: ComposedGallery, query: Row, scores: Values, targets: list[int]) -> Row:
    """Return the columns `subset_*`: the rank among the subset without the reference; none without a target in it."""
    listed = _subset_mask(gallery, query) & (scores > -np.inf)
    right = [column for column in targets if listed[column]]
    if not right:
        return {}
    rank = tied_rank(scores[right], np.sort(scores[_without(listed, right)]))
    return _rank("subset_", rank, len(right)) | {"subset_num_gallery": int(listed.sum())}


def _subset_mask(gallery: ComposedGallery, query: Row) -> Mask:
    """Return which products are in a query's subset and not its reference, (products,)."""
    listed = np.zeros(gallery.products.height, dtype=np.bool_)
    listed[[gallery.positions[product_id] for product_id in query["subset"] if product_id in gallery.positions]] = True
    listed[gallery.positions[query["reference_product_id"]]] = False
    return listed


def _rank(prefix: str, rank: TiedRank, num_right: int) -> Row:
    return {
        f"{prefix}rank": 1 + rank.higher + rank.wrong / (rank.right + 1),
        f"{prefix}num_right": num_right,
        f"{prefix}tied_right": rank.right,
        f"{prefix}tied_wrong": rank.wrong,
    }


def _without(chosen: Mask, columns: list[int]) -> Mask:
    rest = chosen.copy()
    rest[columns] = False
    return rest


def _rankings(gallery: ComposedGallery, best: list[tuple[str, NDArray[np.int64], Values]]) -> pl.DataFrame:
    """Return RANKINGS_SCHEMA rows of (query id, columns of the best products, their scores)."""
    query_ids, product_ids = [query_id for query_id, *_ in best], gallery.product_ids
    counts = [len(columns) for _, columns, _ in best]
    columns, scores = (np.concatenate([np.zeros(0), *(row[part] for row in best)]) for part in (1, 2))
    values = {
        "query_id": pl.Series(query_ids, dtype=pl.String).gather(np.repeat(range(len(best)), counts)),
        "split": pl.repeat(gallery.split, len(columns), eager=True),
        "fold": pl.repeat(gallery.fold, len(columns), dtype=pl.Int64, eager=True),
        "rank": np.concatenate([np.zeros(0), *(np.arange(1, count + 1) for count in counts)]).astype(np.int64),
        "product_id": pl.Series(product_ids, dtype=pl.String).gather(columns.astype(np.int64)),
        "score": scores,
    }
    return pl.DataFrame(values, schema_overrides=RANKINGS_SCHEMA)
