"""The exact rank of each query's best positive, computed block by block.

A rank does not need a sorted list: counting the higher scores is one pass over a block, so the cost is that of the
matrix product. Ties count as the expected rank, because `argsort` breaks them by position and can give a collapsed
model a perfect score. Equal embeddings need equal scores for this. BLAS does not guarantee that, as its kernels at the
edge of a matrix round differently, so repeated gallery rows take the score of the first.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.metrics.relevance import Positions

BLOCK_BYTES = 32 << 20
MAX_CHUNK = 512

Matrix = NDArray[np.float32]


def best_positive_ranks(
    queries: Matrix,
    gallery: Matrix,
    positives: Positions,
    excluded: Positions | None = None,
    subset: Positions | None = None,
    chunk: int | None = None,
) -> NDArray[np.float64]:
    """Return the expected rank, from 1, of each query's best-scoring positive; (queries, dim) x (gallery, dim).

    If h negatives score higher, and t negatives and m positives share the score in random order, the rank is
    1 + h + t / (m + 1). `excluded` positions are not ranked; with a `subset` only its positions are. Memory is
    `chunk` x gallery scores. Raises ValueError for a query without a ranked positive, for queries and gallery of
    different widths, and for values that are not finite.
    """
    queries, gallery = np.ascontiguousarray(queries, np.float32), np.ascontiguousarray(gallery, np.float32)
    _check(queries, gallery, (positives, excluded, subset))
    ranks = np.empty(len(queries), np.float64)
    for query, row in score_rows(queries, gallery, chunk):
        own = positives.row(query)
        if excluded is not None or subset is not None:
            row, own = _restricted(row, own, query, excluded, subset)
        ranks[query] = _expected_rank(row, own, query)
    return ranks


def score_rows(queries: Matrix, gallery: Matrix, chunk: int | None = None) -> Iterator[tuple[int, Matrix]]:
    """Yield each query's number and its scores (gallery,), a view that is valid until the next item.

    Equal gallery rows score equally. Memory is `chunk` x gallery scores.
    """
    chunk = chunk or max(1, min(MAX_CHUNK, BLOCK_BYTES // (4 * max(1, len(gallery)))))
    repeats, firsts = _repeated_rows(gallery) if len(queries) else (np.zeros(0, np.int64),) * 2
    block = np.empty((min(chunk, len(queries)), len(gallery)), np.float32)
    for start in range(0, len(queries), chunk):
        part = queries[start : start + chunk]
        scores = np.matmul(part, gallery.T, out=block[: len(part)])
        if len(repeats):
            scores[:, repeats] = scores[:, firsts]
        yield from zip(range(start, start + len(part)), scores, strict=True)


def _expected_rank(scores: Matrix, own: NDArray[np.int64], query: int) -> float:
    if not len(own):
        raise ValueError(f"query {query} has no positive in its gallery; remove the query")
    own_scores = scores[own]
    best = own_scores.max()
    above = np.count_nonzero(scores > best)  # no positive is above the best one
    at_best = np.count_nonzero(own_scores == best)
    tied = np.count_nonzero(scores >= best) - above - at_best
    return 1.0 + above + tied / (at_best + 1)


def _restricted(
    scores: Matrix, own: NDArray[np.int64], query: int, excluded: Positions | None, subset: Positions | None
) -> tuple[Matrix, NDArray[np.int64]]:
    ranked = np.arange(len(scores)) if subset is None else subset.row(query)
    if excluded is not None:
        ranked = np.setdiff1d(ranked, excluded.row(query), assume_unique=True)
    return scores[ranked], np.flatnonzero(np.isin(ranked, own, assume_unique=True))


def _repeated_rows(gallery: Matrix) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    first_of: dict[int, int] = {}
    repeats, firsts = [], []
    for position, row in enumerate(gallery):
        first = first_of.setdefault(hash(row.tobytes()), position)
        if first != position and np.array_equal(gallery[first], row):
            repeats.append(position)
            firsts.append(first)
    return np.array(repeats, np.int64), np.array(firsts, np.int64)


def _check(queries: Matrix, gallery: Matrix, rows: tuple[Positions | None, ...]) -> None:
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ValueError(f"queries {queries.shape} and gallery {gallery.shape} must be two matrices of the same width")
    for name, matrix in (("queries", queries), ("gallery", gallery)):
        # A sum is finite only if every term is, since embeddings do not overflow; it needs no mask.
        with np.errstate(invalid="ignore"):
            sums = matrix.sum(axis=1)
        if not np.isfinite(sums).all():
            bad = int(np.flatnonzero(~np.isfinite(sums))[0])
            raise ValueError(f"{name}: the embedding in row {bad} is not finite, so it has no rank")
    for positions in rows:
        if positions is None:
            continue
        if len(positions) != len(queries):
            raise ValueError(f"{len(positions)} rows of gallery positions for {len(queries)} queries")
        if len(positions.indices) and not 0 <= positions.indices.min() <= positions.indices.max() < len(gallery):
            raise ValueError(f"gallery positions must be in 0 .. {len(gallery) - 1}, found {positions.indices.max()}")
