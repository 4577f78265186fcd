"""The exact rank of each query's best right answer, among the complete gallery, in one or both directions.

The threshold of a query is the float64 score of its best right answer; what else scores higher or equally is counted
tile by tile (see `score_counts`). So the cost is that of one matrix product for both directions.
"""

from contextlib import closing
from typing import NamedTuple

import numpy as np

from pipeline_lib.metrics.relevance import Positions
from pipeline_lib.metrics.score_counts import (
    EQUAL,
    FLOAT32_ERROR,
    CpuTiles,
    Integers,
    Matrix,
    Tally,
    Thresholds,
    count_scores,
    norms,
    pair_scores,
)
from pipeline_lib.metrics.tied_ranks import TiedRanks


def best_positive_ranks(
    queries: Matrix,
    gallery: Matrix,
    positives: Positions,
    excluded: Positions | None = None,
    subset: Positions | None = None,
    device: str = "cpu",
) -> TiedRanks:
    """Return the rank of each query's best-scoring positive; (queries, dim) x (gallery, dim).

    `excluded` positions are not ranked; with a `subset` only its positions are. Memory does not grow with the number
    of pairs. Raises ValueError for a query without a ranked positive, for queries and gallery of different widths, and
    for values that are not finite.
    """
    queries, gallery = np.ascontiguousarray(queries, np.float32), np.ascontiguousarray(gallery, np.float32)
    _check(queries, gallery, (positives, excluded, subset))
    own = positives if excluded is None else positives.without(excluded)
    own = own if subset is None else own.within(subset)
    best = _best_positives(queries, gallery, own)
    if subset is not None:
        others = (subset if excluded is None else subset.without(excluded)).without(own)
        tally = Tally(best.thresholds)
        row = np.repeat(np.arange(len(others)), others.counts())
        tally.add(row, pair_scores(queries, gallery, row, others.indices))
    else:
        skipped = positives if excluded is None else positives.joined(excluded)
        (tally,) = _counted(queries, gallery, [best.thresholds], skipped, device)
    return TiedRanks(tally.higher, best.tied, tally.equal)


def both_ways_ranks(
    queries: Matrix, gallery: Matrix, positives: Positions, device: str = "cpu"
) -> tuple[TiedRanks, TiedRanks]:
    """Return the ranks of each query among the gallery, and of each gallery item with a query among the queries.

    Both come from one matrix product. Raises ValueError as `best_positive_ranks` does.
    """
    queries, gallery = np.ascontiguousarray(queries, np.float32), np.ascontiguousarray(gallery, np.float32)
    _check(queries, gallery, (positives,))
    best = _best_positives(queries, gallery, positives)
    best_of = _best_positives(gallery, queries, positives.transposed(len(gallery)), allow_none=True)
    down, across = _counted(queries, gallery, [best.thresholds, best_of.thresholds], positives, device)
    return (
        TiedRanks(down.higher, best.tied, down.equal),
        TiedRanks(across.higher, best_of.tied, across.equal).take(np.flatnonzero(best_of.tied)),
    )


class BestPositives(NamedTuple):
    """The best score of each query's positives, and `tied` (queries,), how many positives share it."""

    thresholds: Thresholds
    tied: Integers


def _best_positives(queries: Matrix, gallery: Matrix, positives: Positions, allow_none: bool = False) -> BestPositives:
    counts = positives.counts()
    if not allow_none and not counts.all():
        raise ValueError(f"query {np.flatnonzero(counts == 0)[0]} has no positive in its gallery; remove the query")
    row, some = np.repeat(np.arange(len(counts)), counts), np.flatnonzero(counts)
    scores = pair_scores(queries, gallery, row, positives.indices)
    best = np.full(len(counts), np.inf)
    if len(some):
        best[some] = np.maximum.reduceat(scores, positives.indptr[some])
    length = norms(queries) * norms(gallery).max(initial=0.0)
    at_best = row[scores >= best[row] - EQUAL * length[row]]
    tied = np.bincount(at_best, minlength=len(counts)).astype(np.int64)
    return BestPositives(Thresholds(best, FLOAT32_ERROR * length, EQUAL * length), tied)


def _counted(
    queries: Matrix, gallery: Matrix, thresholds: list[Thresholds], skipped: Positions, device: str
) -> list[Tally]:
    if device != "cpu":
        from pipeline_lib.metrics.device_counts import DeviceTiles  # imports torch, which the CPU does not need

        return count_scores(queries, gallery, thresholds, skipped, DeviceTiles(queries, gallery, thresholds, device))
    with closing(CpuTiles(queries, gallery, thresholds)) as tiles:
        return count_scores(queries, gallery, thresholds, skipped, tiles)


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
