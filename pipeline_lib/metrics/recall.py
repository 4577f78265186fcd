"""The exact rank of each query's best right answer, among the complete gallery, in one or both directions.

The threshold of a query is the float64 score of its best right answer; what else scores higher or equally is counted
tile by tile (see `score_counts`). So the cost is that of one matrix product for both directions.
"""

import sys
from typing import NamedTuple

import numpy as np

from pipeline_lib.execution.device import supports_bf16
from pipeline_lib.metrics.cpu_counts import Float32Tiles, counting_threads
from pipeline_lib.metrics.relevance import Positions
from pipeline_lib.metrics.score_counts import (
    EQUAL,
    FLOAT32_ERROR,
    Integers,
    Matrix,
    Tally,
    Thresholds,
    Values,
    count_scores,
    norms,
    pair_scores,
)
from pipeline_lib.metrics.tied_ranks import TiedRanks

FEW_SCORES = 2_000_000  # are counted before threads have started


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
    _require_positives(own)
    scores = pair_scores(queries, gallery, own.rows(), own.indices)
    best = _best_positives(own, scores, norms(queries) * norms(gallery).max(initial=0.0))
    if subset is not None:
        others = (subset if excluded is None else subset.without(excluded)).without(own)
        tally = Tally(best.thresholds)
        tally.add(others.rows(), pair_scores(queries, gallery, others.rows(), others.indices))
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
    _require_positives(positives)
    scores = pair_scores(queries, gallery, positives.rows(), positives.indices)
    lengths, far = norms(queries), norms(gallery)
    best = _best_positives(positives, scores, lengths * far.max(initial=0.0))
    # The same pairs, in the order of the gallery.
    scores = scores[np.argsort(positives.indices, kind="stable")]
    best_of = _best_positives(positives.transposed(len(gallery)), scores, far * lengths.max(initial=0.0))
    down, across = _counted(queries, gallery, [best.thresholds, best_of.thresholds], positives, device)
    return (
        TiedRanks(down.higher, best.tied, down.equal),
        TiedRanks(across.higher, best_of.tied, across.equal).take(np.flatnonzero(best_of.tied)),
    )


class BestPositives(NamedTuple):
    """The best score of each query's positives, and `tied` (queries,), how many positives share it."""

    thresholds: Thresholds
    tied: Integers


def _require_positives(positives: Positions) -> None:
    counts = positives.counts()
    if not counts.all():
        raise ValueError(f"query {np.flatnonzero(counts == 0)[0]} has no positive in its gallery; remove the query")


def _best_positives(positives: Positions, scores: Values, length: Values) -> BestPositives:
    """Return the best of the `scores` of all positives; `length` (queries,) is the highest possible score of each.

    A query without a positive has none.
    """
    counts, row = positives.counts(), positives.rows()
    some = np.flatnonzero(counts)
    best = np.full(len(counts), np.inf)
    if len(some):
        best[some] = np.maximum.reduceat(scores, positives.indptr[some])
    at_best = row[scores >= best[row] - EQUAL * length[row]]
    tied = np.bincount(at_best, minlength=len(counts)).astype(np.int64)
    return BestPositives(Thresholds(best, FLOAT32_ERROR * length, EQUAL * length), tied)


def _counted(
    queries: Matrix, gallery: Matrix, thresholds: list[Thresholds], skipped: Positions, device: str
) -> list[Tally]:
    sides = (queries, gallery, thresholds)
    if device != "cpu":
        from pipeline_lib.metrics.device_counts import DeviceTiles  # imports torch, which the CPU does not need

        return count_scores(*sides, skipped, DeviceTiles(*sides, device))
    if len(queries) * len(gallery) <= FEW_SCORES:
        return count_scores(*sides, skipped, Float32Tiles(*sides))
    with counting_threads() as pool:
        # The counts are the same, so torch is not loaded for them.
        if "torch" in sys.modules and supports_bf16("cpu"):
            from pipeline_lib.metrics.bf16_counts import Bf16Tiles

            return count_scores(*sides, skipped, Bf16Tiles(*sides, pool.map), pool.map)
        return count_scores(*sides, skipped, Float32Tiles(*sides), pool.map)


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
