"""Ranks of one gallery in both directions: products for each query, and queries for each product.

Every product and every query is in the gallery once. If rows of (image, text) pairs were ranked instead, an image with
five texts would count as four wrong results for its own text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts.schemas import RANKS_SCHEMA
from pipeline_lib.metrics.recall import best_positive_ranks, both_ways_ranks
from pipeline_lib.metrics.relevance import Positions, positions_from_lists, positions_from_pairs
from pipeline_lib.metrics.score_counts import Matrix
from pipeline_lib.metrics.tied_ranks import TiedRanks

# Direction of queries that are ranked among their subset alone.
SUBSET = "text_to_image_subset"


@dataclass(frozen=True)
class Gallery:
    """Queries (queries, dim) and products (products, dim), embedded by one model or fused over the same models.

    `groups` are the products' group ids; None = each product is its own group. `subsets` has the query_id and
    product_id of products that a query is also ranked among, beside its answers.
    """

    split: str
    fold: int | None
    query_ids: Sequence[str]
    queries: Matrix
    product_ids: Sequence[str]
    products: Matrix
    groups: Sequence[str] | None = None
    subsets: pl.DataFrame | None = None

    def group_ids(self, positions: NDArray[np.int64]) -> list[str]:
        """Return the groups of the products at gallery positions."""
        groups = self.product_ids if self.groups is None else self.groups
        return [groups[int(position)] for position in positions]


def drop_queries_without_relevance(gallery: Gallery, relevance: pl.DataFrame) -> Gallery:
    """Return the gallery without the queries that are not in `relevance`; they cannot be scored."""
    judged = set(relevance["query_id"])
    rows = [row for row, query_id in enumerate(gallery.query_ids) if query_id in judged]
    if len(rows) == len(gallery.query_ids):
        return gallery
    return replace(gallery, query_ids=[gallery.query_ids[row] for row in rows], queries=gallery.queries[rows])


def gallery_positives(query_ids: Sequence[str], product_ids: Sequence[str], relevance: pl.DataFrame) -> Positions:
    """Return the gallery positions of each query's relevant products (grade above 0) that are in the gallery."""
    return _positions(query_ids, product_ids, relevance.filter(pl.col("grade") > 0))


def _positions(query_ids: Sequence[str], product_ids: Sequence[str], named: pl.DataFrame) -> Positions:
    queries = pl.DataFrame({"query_id": query_ids}, schema={"query_id": pl.String}).with_row_index("query")
    products = pl.DataFrame({"product_id": product_ids}, schema={"product_id": pl.String}).with_row_index("product")
    pairs = named.join(queries, on="query_id").join(products, on="product_id")
    return positions_from_pairs(pairs["query"].to_numpy(), pairs["product"].to_numpy(), len(query_ids))


def rank_gallery(gallery: Gallery, relevance: pl.DataFrame, device: str = "cpu") -> pl.DataFrame:
    """Return RANKS_SCHEMA rows: every query against all products, every product with a query against all queries.

    The group of a query is that of its first relevant product. Queries without relevance are left out. Queries with a
    subset have a row of the direction SUBSET, too. Raises ValueError if all relevant products of a query are outside
    the gallery.
    """
    gallery = drop_queries_without_relevance(gallery, relevance)
    positives = gallery_positives(gallery.query_ids, gallery.product_ids, relevance)
    without = np.flatnonzero(positives.counts() == 0)
    if len(without):
        raise ValueError(
            f"query {gallery.query_ids[without[0]]!r}: none of its relevant products is among the "
            f"{len(gallery.product_ids)} of {gallery.split} (fold {gallery.fold}); the embeddings belong to another "
            "catalogue: run `dvc repro`"
        )
    text_to_image, image_to_text = both_ways_ranks(gallery.queries, gallery.products, positives, device)
    num_right = positives.transposed(len(gallery.product_ids)).counts()
    with_query = np.flatnonzero(num_right)
    product_ids = [gallery.product_ids[int(position)] for position in with_query]
    first_relevant = positives.indices[positives.indptr[:-1]]
    text_rows = RankedRows(gallery.query_ids, first_relevant, text_to_image, positives.counts())
    image_rows = RankedRows(product_ids, with_query, image_to_text, num_right[with_query])
    return pl.concat(
        [
            direction_ranks(gallery, "text_to_image", text_rows, len(gallery.product_ids)),
            direction_ranks(gallery, "image_to_text", image_rows, len(gallery.query_ids)),
            *([] if gallery.subsets is None else [_subset_ranks(gallery, positives, gallery.subsets)]),
        ]
    )


def _subset_ranks(gallery: Gallery, positives: Positions, subsets: pl.DataFrame) -> pl.DataFrame:
    """Return RANKS_SCHEMA rows of the direction SUBSET: queries among the products of their subset and their answers.

    `positives` are the answers of all queries. A query whose subset has no other product in the gallery is left out.
    """
    listed = _positions(gallery.query_ids, gallery.product_ids, subsets).joined(positives)
    chosen = np.flatnonzero(listed.counts() > positives.counts())
    query_ids = [gallery.query_ids[int(row)] for row in chosen]
    own, ranked = (positions_from_lists(part.row(int(row)) for row in chosen) for part in (positives, listed))
    ranks = best_positive_ranks(gallery.queries[chosen], gallery.products, own, subset=ranked)
    first_relevant = own.indices[own.indptr[:-1]]
    rows = RankedRows(query_ids, first_relevant, ranks, own.counts())
    return direction_ranks(gallery, SUBSET, rows, ranked.counts())


@dataclass(frozen=True)
class RankedRows:
    """Ids and ranks of one direction; `products` are gallery positions, which give the group of each row.

    `num_right` is how many right answers the gallery has for each; all are (rows,).
    """

    ids: Sequence[str]
    products: NDArray[np.int64]
    ranks: TiedRanks
    num_right: NDArray[np.int64]


def direction_ranks(
    gallery: Gallery, direction: str, rows: RankedRows, num_gallery: int | NDArray[np.int64]
) -> pl.DataFrame:
    """Return RANKS_SCHEMA rows of one direction; `num_gallery` is one size, or that of each row (rows,)."""
    columns = {
        "query_id": list(rows.ids),
        "rank": rows.ranks.expected(),
        "group_id": gallery.group_ids(rows.products),
        "num_right": rows.num_right,
        "num_gallery": np.broadcast_to(np.int64(num_gallery), len(rows.ids)),
        "tied_right": rows.ranks.right,
        "tied_wrong": rows.ranks.wrong,
    }
    fixed = {
        "split": pl.lit(gallery.split),
        "direction": pl.lit(direction),
        "fold": pl.lit(gallery.fold, pl.Int64),
    }
    frame = pl.DataFrame(columns, schema_overrides={"query_id": pl.String, "group_id": pl.String})
    return frame.with_columns(**fixed).select(list(RANKS_SCHEMA))
