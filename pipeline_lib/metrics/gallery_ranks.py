"""Ranks of one gallery in both directions: products for each query, and queries for each product.

Every product and every query is in the gallery once. If rows of (image, text) pairs were ranked instead, an image with
five texts would count as four wrong results for its own text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.metrics.recall import Matrix, best_positive_ranks
from pipeline_lib.metrics.relevance import Positions, positions_from_pairs

DIRECTIONS = ("text_to_image", "image_to_text")


@dataclass(frozen=True)
class Gallery:
    """Queries (queries, dim) and products (products, dim), embedded by one model or fused over the same models.

    `groups` are the products' group ids; None = each product is its own group.
    """

    split: str
    fold: int | None
    query_ids: Sequence[str]
    queries: Matrix
    product_ids: Sequence[str]
    products: Matrix
    groups: Sequence[str] | None = None

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
    queries = pl.DataFrame({"query_id": query_ids}, schema={"query_id": pl.String}).with_row_index("query")
    products = pl.DataFrame({"product_id": product_ids}, schema={"product_id": pl.String}).with_row_index("product")
    pairs = relevance.filter(pl.col("grade") > 0).join(queries, on="query_id").join(products, on="product_id")
    return positions_from_pairs(pairs["query"].to_numpy(), pairs["product"].to_numpy(), len(query_ids))


def rank_gallery(gallery: Gallery, relevance: pl.DataFrame) -> pl.DataFrame:
    """Return RANKS_SCHEMA rows: every query against all products, every product with a query against all queries.

    The group of a query is that of its first relevant product. Queries without relevance are left out. Raises
    ValueError if all relevant products of a query are outside the gallery.
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
    queries_of = positives.transposed(len(gallery.product_ids))
    with_query = np.flatnonzero(queries_of.counts())
    product_ids = [gallery.product_ids[int(position)] for position in with_query]
    first_relevant = positives.indices[positives.indptr[:-1]]
    directions = (
        (gallery.query_ids, first_relevant, best_positive_ranks(gallery.queries, gallery.products, positives)),
        (
            product_ids,
            with_query,
            best_positive_ranks(gallery.products[with_query], gallery.queries, queries_of.take(with_query)),
        ),
    )
    sizes = (len(gallery.product_ids), len(gallery.query_ids))
    return pl.concat(
        [
            direction_ranks(gallery, direction, ids, products, ranks, size)
            for direction, (ids, products, ranks), size in zip(DIRECTIONS, directions, sizes, strict=True)
        ]
    )


def direction_ranks(
    gallery: Gallery,
    direction: str,
    ids: Sequence[str],
    products: NDArray[np.int64],
    ranks: NDArray[np.float64],
    num_gallery: int,
) -> pl.DataFrame:
    """Return RANKS_SCHEMA rows of one direction; `products` are gallery positions, which give the group of each row."""
    columns = {"query_id": list(ids), "rank": ranks, "group_id": gallery.group_ids(products)}
    return pl.DataFrame(columns, schema_overrides={"query_id": pl.String, "group_id": pl.String}).select(
        split=pl.lit(gallery.split),
        direction=pl.lit(direction),
        query_id="query_id",
        fold=pl.lit(gallery.fold, pl.Int64),
        rank="rank",
        num_gallery=pl.lit(num_gallery, pl.Int64),
        group_id="group_id",
    )
