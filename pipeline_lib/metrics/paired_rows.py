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
    RankedRows,
    direction_ranks,
    drop_queries_without_relevance,
    gallery_positives,
)
from pipeline_lib.metrics.recall import both_ways_ranks
from pipeline_lib.metrics.relevance import Positions
from pipeline_lib.metrics.score_counts import Matrix
from pipeline_lib.metrics.tied_ranks import TiedRanks

Rows = NDArray[np.int64]


def rank_rows(gallery: Gallery, relevance: pl.DataFrame, device: str = "cpu") -> pl.DataFrame:
    """Return RANKS_SCHEMA rows: one for each relevant (query, product) pair and direction, ranked among all pairs.

    Further rows of one query are named `<query_id>#1` and so on; rows of images `<product_id>#0` and so on.
    """
    gallery = drop_queries_without_relevance(gallery, relevance)
    pairs = gallery_positives(gallery.query_ids, gallery.product_ids, relevance)
    query, product = np.repeat(np.arange(len(pairs)), pairs.counts()), pairs.indices
    text_ranks, image_ranks = paired_ranks(gallery.queries, gallery.products, pairs, device)
    nth = _occurrence(query)
    ids = [gallery.query_ids[int(row)] + (f"#{n}" if n else "") for row, n in zip(query, nth, strict=True)]
    image_ids = [f"{gallery.product_ids[int(row)]}#{n}" for row, n in zip(product, _occurrence(product), strict=True)]
    one = np.ones(len(product), np.int64)
    return pl.concat(
        [
            direction_ranks(gallery, direction, RankedRows(names, product, ranks, one), len(product))
            for direction, names, ranks in (
                ("text_to_image", ids, text_ranks),
                ("image_to_text", image_ids, image_ranks),
            )
        ]
    )


def paired_ranks(
    queries: Matrix, products: Matrix, pairs: Positions, device: str = "cpu"
) -> tuple[TiedRanks, TiedRanks]:
    """Return the ranks of each pair's own image among the images of all pairs for its text, and of its text likewise.

    If no other image shares the score, the copies of an image are in row order, as by a stable sort. Other ties are in
    random order.
    """
    query, product = np.repeat(np.arange(len(pairs)), pairs.counts()), pairs.indices
    own = Positions(np.arange(len(product) + 1), np.arange(len(product)))
    images, texts = both_ways_ranks(queries[query], products[product], own, device)
    copies = np.bincount(product, minlength=len(products))[product] - 1
    alone = images.wrong == copies
    higher = images.higher + np.where(alone, _occurrence(product), 0)
    return TiedRanks(higher, images.right, np.where(alone, 0, images.wrong)), texts


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
