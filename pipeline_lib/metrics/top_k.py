"""The top k of each query by exact scores, block by block; products with equal scores are in the order of their ids.

A float32 score depends on the kernel and on the size of the block, so lists of equal products would change with them.
Candidates are therefore scored again in float64, and a list of k is the beginning of the list of k + 1.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.metrics.score_counts import FLOAT32_ERROR, Integers, Matrix, norms, pair_scores

BLOCK_BYTES = 16 << 20
MAX_CHUNK = 512
# Products in a group of which the largest score is found first, and the fewest groups for each of the k.
GROUP_SIZE, MIN_GROUPS = 32, 4


def id_places(ids: Sequence[str]) -> Integers:
    """Return the place of each id in sorted order, (ids,): what equal scores are ordered by.

    >>> id_places(["b", "a", "c"]).tolist()
    [1, 0, 2]
    """
    places: NDArray[np.int64] = pl.Series(ids, dtype=pl.String).rank("ordinal").cast(pl.Int64).to_numpy() - 1
    return places


def top_k(
    queries: Matrix, gallery: Matrix, k: int, places: Integers, chunk: int | None = None
) -> tuple[Integers, Matrix]:
    """Return the gallery positions and scores of each query's top k, best first; two arrays (queries, min(k, gallery)).

    (queries, dim) x (gallery, dim). Equal scores are ordered by `places` (gallery,).
    """
    k = min(k, len(gallery))
    positions, scores = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    if not k:
        return positions, scores
    chunk = chunk or max(1, min(MAX_CHUNK, BLOCK_BYTES // (4 * len(gallery))))
    margins = 2 * FLOAT32_ERROR * norms(queries) * norms(gallery).max()
    for start in range(0, len(queries), chunk):
        part = slice(start, start + chunk)
        rounded = queries[part] @ gallery.T
        last = np.partition(_best_of_groups(rounded, k), -k, axis=1)[:, -k]
        candidates = rounded >= (last - margins[part]).astype(np.float32)[:, None]
        row, column = np.divmod(np.flatnonzero(candidates), len(gallery))
        exact = pair_scores(queries[part], gallery, row, column).astype(np.float32)
        order = np.lexsort((places[column], -exact, row))
        first = np.searchsorted(row, np.arange(len(rounded)))[:, None] + np.arange(k)
        positions[part], scores[part] = column[order][first], exact[order][first]
    return positions, scores


def _best_of_groups(scores: Matrix, k: int) -> Matrix:
    """Return, for each query, values whose k-th largest is at most that of `scores` (queries, gallery).

    They are the largest scores of groups of GROUP_SIZE products, which are faster to find than the k-th largest of all
    products. At most GROUP_SIZE times k scores are at least as large as their k-th largest, ties and the products that
    fill no group apart.
    """
    groups = scores.shape[1] // GROUP_SIZE
    if groups < MIN_GROUPS * k:
        return scores
    best: Matrix = scores[:, : GROUP_SIZE * groups].reshape(len(scores), GROUP_SIZE, groups).max(axis=1)
    return best
