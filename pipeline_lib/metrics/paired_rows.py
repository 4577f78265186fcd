"""Ranks as old training scripts logged them: rows of (image, caption) against rows, the truth being the same row.

An image with five captions stands five times among what is ranked, so four of five rows count its own captions, or its
own copies, as wrong. With exactly five a perfect model scores R@1 = 20 %, image-to-text R@1 is a fifth of the true
one, and text-to-image R@5 and R@10 are the true R@1 and R@2. For comparison with such logs, and for nothing else.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.metrics.gallery_ranks import Gallery, answered_part, direction_ranks, gallery_positives
from pipeline_lib.metrics.recall import Matrix, score_rows
from pipeline_lib.metrics.relevance import Positions

Rows = NDArray[np.int64]
Ranks = NDArray[np.float64]


def rank_rows(gallery: Gallery, relevance: pl.DataFrame) -> pl.DataFrame:
    """Return RANKS_SCHEMA rows: one a right (query, product) pair of the gallery and direction, ranked among the pairs.

    The second and further row of one query is named `<query_id>#1` and so on; rows of images are `<product_id>#0` ...
    """
    gallery = answered_part(gallery, relevance)
    pairs = gallery_positives(gallery.query_ids, gallery.product_ids, relevance)
    query, product = np.repeat(np.arange(len(pairs)), pairs.counts()), pairs.indices
    found = text_to_image_ranks(gallery.queries, gallery.products, pairs)
    described = image_to_text_ranks(gallery.queries, gallery.products, pairs)
    nth = _place_among(query)
    ids = [gallery.query_ids[int(row)] + (f"#{n}" if n else "") for row, n in zip(query, nth, strict=True)]
    image_ids = [f"{gallery.product_ids[int(row)]}#{n}" for row, n in zip(product, _place_among(product), strict=True)]
    return pl.concat(
        [
            direction_ranks(gallery, "text_to_image", ids, product, found, len(product)),
            direction_ranks(gallery, "image_to_text", image_ids, product, described, len(product)),
        ]
    )


def text_to_image_ranks(queries: Matrix, products: Matrix, pairs: Positions) -> Ranks:
    """Return the rank of each pair's image row among all rows' images, for the pair's text; (pairs,).

    Copies of one image score alike. They stand in the order of their rows, as a sort leaves them; ties with other
    images count by expectation.
    """
    copies = np.bincount(pairs.indices, minlength=len(products)).astype(np.float64)
    place = _place_among(pairs.indices)
    ranks = np.empty(len(pairs.indices), np.float64)
    for query, scores in score_rows(*_aligned(queries, products)):
        for pair in range(pairs.indptr[query], pairs.indptr[query + 1]):
            own = pairs.indices[pair]
            above = copies[scores > scores[own]].sum()
            tied = copies[scores == scores[own]].sum() - copies[own]
            # The copies before this one, and of the tied rows those expected before it.
            ranks[pair] = 1 + above + place[pair] + tied * (place[pair] + 1) / (copies[own] + 1)
    return ranks


def image_to_text_ranks(queries: Matrix, products: Matrix, pairs: Positions) -> Ranks:
    """Return the expected rank of each pair's own text among all rows' texts, for the pair's image; (pairs,)."""
    copies = pairs.counts().astype(np.float64)
    described = pairs.flipped(len(products))
    by_product = np.argsort(pairs.indices, kind="stable")  # as `described` lists them: by product, then by query
    ranks = np.empty(len(pairs.indices), np.float64)
    for product, scores in score_rows(*_aligned(products, queries)):
        for place in range(described.indptr[product], described.indptr[product + 1]):
            own = scores[described.indices[place]]
            tied = copies[scores == own].sum() - 1
            ranks[by_product[place]] = 1 + copies[scores > own].sum() + tied / 2
    return ranks


def _aligned(queries: Matrix, gallery: Matrix) -> tuple[Matrix, Matrix]:
    return np.ascontiguousarray(queries, np.float32), np.ascontiguousarray(gallery, np.float32)


def _place_among(numbers: Rows) -> Rows:
    """Return how many earlier entries equal each one.

    >>> _place_among(np.array([3, 1, 3, 3, 1])).tolist()
    [0, 0, 1, 2, 1]
    """
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    starts = np.searchsorted(ordered, ordered)
    place = np.empty(len(numbers), np.int64)
    place[order] = np.arange(len(numbers)) - starts
    return place
