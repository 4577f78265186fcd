"""Row-paired ranks, as old training scripts logged them: (image, caption) rows, and only the own row is relevant.

An image with five captions is in the gallery five times, so its own captions and copies count as wrong in four of five
rows. With exactly five captions per image a perfect model scores R@1 = 20 %, image-to-text R@1 is a fifth of the true
value, and text-to-image R@5 and R@10 are the true R@1 and R@2. Use it only for comparison with such logs.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.metrics.gallery_ranks import (
    Gallery,
    direction_ranks,
    drop_queries_without_relevance,
    gallery_positives,
)
from pipeline_lib.metrics.recall import Matrix, score_rows
from pipeline_lib.metrics.relevance import Positions

Rows = NDArray[np.int64]
Ranks = NDArray[np.float64]


def rank_rows(gallery: Gallery, relevance: pl.DataFrame) -> pl.DataFrame:
    """Return RANKS_SCHEMA rows: one for each relevant (query, product) pair and direction, ranked among all pairs.

    Further rows of one query are named `<query_id>#1` and so on; rows of images `<product_id>#0` and so on.
    """
    gallery = drop_queries_without_relevance(gallery, relevance)
    pairs = gallery_positives(gallery.query_ids, gallery.product_ids, relevance)
    query, product = np.repeat(np.arange(len(pairs)), pairs.counts()), pairs.indices
    text_ranks = text_to_image_ranks(gallery.queries, gallery.products, pairs)
    image_ranks = image_to_text_ranks(gallery.queries, gallery.products, pairs)
    nth = _occurrence(query)
    ids = [gallery.query_ids[int(row)] + (f"#{n}" if n else "") for row, n in zip(query, nth, strict=True)]
    image_ids = [f"{gallery.product_ids[int(row)]}#{n}" for row, n in zip(product, _occurrence(product), strict=True)]
    return pl.concat(
        [
            direction_ranks(gallery, "text_to_image", ids, product, text_ranks, len(product)),
            direction_ranks(gallery, "image_to_text", image_ids, product, image_ranks, len(product)),
        ]
    )


def text_to_image_ranks(queries: Matrix, products: Matrix, pairs: Positions) -> Ranks:
    """Return the rank of each pair's own image row among the images of all rows, for the pair's text; (pairs,).

    Copies of one image have equal scores and are ranked in row order, as by a stable sort. Ties with other images count
    as the expected rank.
    """
    copies = np.bincount(pairs.indices, minlength=len(products)).astype(np.float64)
    nth = _occurrence(pairs.indices)
    ranks = np.empty(len(pairs.indices), np.float64)
    for query, scores in score_rows(*_contiguous(queries, products)):
        for pair in range(pairs.indptr[query], pairs.indptr[query + 1]):
            own = pairs.indices[pair]
            above = copies[scores > scores[own]].sum()
            tied = copies[scores == scores[own]].sum() - copies[own]
            # The earlier copies of the image, and the expected number of tied rows before this one.
            ranks[pair] = 1 + above + nth[pair] + tied * (nth[pair] + 1) / (copies[own] + 1)
    return ranks


def image_to_text_ranks(queries: Matrix, products: Matrix, pairs: Positions) -> Ranks:
    """Return the expected rank of each pair's own text among the texts of all rows, for the pair's image; (pairs,)."""
    copies = pairs.counts().astype(np.float64)
    queries_of = pairs.transposed(len(products))
    by_product = np.argsort(pairs.indices, kind="stable")  # the order of `queries_of`: by product, then by query
    ranks = np.empty(len(pairs.indices), np.float64)
    for product, scores in score_rows(*_contiguous(products, queries)):
        for place in range(queries_of.indptr[product], queries_of.indptr[product + 1]):
            own = scores[queries_of.indices[place]]
            tied = copies[scores == own].sum() - 1
            ranks[by_product[place]] = 1 + copies[scores > own].sum() + tied / 2
    return ranks


def _contiguous(queries: Matrix, gallery: Matrix) -> tuple[Matrix, Matrix]:
    return np.ascontiguousarray(queries, np.float32), np.ascontiguousarray(gallery, np.float32)


def _occurrence(numbers: Rows) -> Rows:
    """Return for each entry how many earlier entries are equal to it.

    >>> _occurrence(np.array([3, 1, 3, 3, 1])).tolist()
    [0, 0, 1, 2, 1]
    """
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    starts = np.searchsorted(ordered, ordered)
    counts = np.empty(len(numbers), np.int64)
    counts[order] = np.arange(len(numbers)) - starts
    return counts
