"""Ranks of one gallery, both ways: products for each query, and queries for each product.

Every product and every query stands in the gallery once. Ranking rows of (image, text) pairs against each other
instead counts an image with five texts as four wrong answers to its own text.
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
    """Queries (queries, dim) and products (products, dim) embedded by one model, or fused over the same models.

    `groups` are the products' group ids; None = each is a group of its own.
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
        known = self.product_ids if self.groups is None else self.groups
        return [known[int(position)] for position in positions]


def answered_part(gallery: Gallery, relevance: pl.DataFrame) -> Gallery:
    """Return the gallery with those queries only that have an answer somewhere: nothing else can be scored."""
    answered = set(relevance["query_id"])
    kept = [row for row, query_id in enumerate(gallery.query_ids) if query_id in answered]
    if len(kept) == len(gallery.query_ids):
        return gallery
    return replace(gallery, query_ids=[gallery.query_ids[row] for row in kept], queries=gallery.queries[kept])


def gallery_positives(query_ids: Sequence[str], product_ids: Sequence[str], relevance: pl.DataFrame) -> Positions:
    """Return the gallery positions of each query's relevant products (grade above 0); other products are left out."""
    queries = pl.DataFrame({"query_id": query_ids}, schema={"query_id": pl.String}).with_row_index("query")
    products = pl.DataFrame({"product_id": product_ids}, schema={"product_id": pl.String}).with_row_index("product")
    pairs = relevance.filter(pl.col("grade") > 0).join(queries, on="query_id").join(products, on="product_id")
    return positions_from_pairs(pairs["query"].to_numpy(), pairs["product"].to_numpy(), len(query_ids))


def rank_gallery(gallery: Gallery, relevance: pl.DataFrame) -> pl.DataFrame:
    """Return RANKS_SCHEMA rows: every query against all products, every product with a query against all queries.

    A query's group is that of its first answer. Queries without any answer are left out. Raises ValueError for one
    whose answers are all outside the gallery.
    """
    gallery = answered_part(gallery, relevance)
    positives = gallery_positives(gallery.query_ids, gallery.product_ids, relevance)
    lonely = np.flatnonzero(positives.counts() == 0)
    if len(lonely):
        raise ValueError(
            f"query {gallery.query_ids[lonely[0]]!r}: none of its relevant products is among the "
            f"{len(gallery.product_ids)} of {gallery.split} (fold {gallery.fold}); the embeddings belong to another "
            "catalogue: run `dvc repro`"
        )
    described = positives.flipped(len(gallery.product_ids))
    with_query = np.flatnonzero(described.counts())
    product_ids = [gallery.product_ids[int(position)] for position in with_query]
    first_answers = positives.indices[positives.indptr[:-1]]
    ways = (
        (gallery.query_ids, first_answers, best_positive_ranks(gallery.queries, gallery.products, positives)),
        (
            product_ids,
            with_query,
            best_positive_ranks(gallery.products[with_query], gallery.queries, described.take(with_query)),
        ),
    )
    sizes = (len(gallery.product_ids), len(gallery.query_ids))
    return pl.concat(
        [
            direction_ranks(gallery, direction, ids, products, ranks, size)
            for direction, (ids, products, ranks), size in zip(DIRECTIONS, ways, sizes, strict=True)
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
    """Return RANKS_SCHEMA rows of one direction; `products` are the gallery positions that say each row's group."""
    told = {"query_id": list(ids), "rank": ranks, "group_id": gallery.group_ids(products)}
    return pl.DataFrame(told, schema_overrides={"query_id": pl.String, "group_id": pl.String}).select(
        split=pl.lit(gallery.split),
        direction=pl.lit(direction),
        query_id="query_id",
        fold=pl.lit(gallery.fold, pl.Int64),
        rank="rank",
        num_gallery=pl.lit(num_gallery, pl.Int64),
        group_id="group_id",
    )
