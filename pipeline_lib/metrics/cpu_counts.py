"""Tiles of `score_counts` on the CPU: each thread multiplies and compares tiles of its own, so that none waits.

Scores are compared in slabs of rows, which stay in the cache.
"""

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline_lib.metrics.score_counts import MANY, Found, Integers, Matrix, Pairs, Thresholds, Tile, count_true

CPU_TILE = (1920, 2048)
# Rows that are compared at a time: they stay in the cache, and the sum of so many ones fits in a byte.
SLAB = 192

# The lowest score that may tie and the highest, of the rows, and of the columns if there are any; all (n,).
Limits = Sequence[tuple[NDArray[Any], NDArray[Any]]]
Mask = NDArray[np.bool_]


@contextmanager
def counting_threads() -> Iterator[ThreadPoolExecutor]:
    """Start as many threads as there are cores, in each of which BLAS has one thread, and torch if it is loaded.

    Their own threads would wait in loops, on cores that compare.
    """
    cores = len(os.sched_getaffinity(0))
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(cores, initializer=_limit_openmp) as pool:
        yield pool


def _limit_openmp() -> None:
    """Give OpenMP one thread in the calling thread alone."""
    if "torch" in sys.modules:
        sys.modules["torch"].get_num_threads()  # its first call in a thread takes the number of the process
        threadpool_limits(1, user_api="openmp")


class Scratch(threading.local):
    """Memory of one thread that every tile uses again: for scores, and for three masks of a slab of them."""

    def __init__(self, num_rows: int, num_columns: int, dtype: type[np.generic]) -> None:
        height, width = min(CPU_TILE[0], num_rows), min(CPU_TILE[1], num_columns)
        self._scores, self._masks = np.empty(height * width, dtype), np.empty((3, SLAB * width), np.bool_)

    def scores(self, height: int, width: int) -> NDArray[Any]:
        """Return an array (height, width) with any content."""
        return self._scores[: height * width].reshape(height, width)

    def masks(self, height: int, width: int) -> NDArray[np.bool_]:
        """Return three masks (height, width) with any content."""
        return self._masks[:, : height * width].reshape(3, height, width)


class Near(NamedTuple):
    """What comparing scores with their limits leaves open.

    `higher` are the counts of the scores above the highest one that may tie, of each row and of each column; `pairs`
    those whose `scores` (pairs,) may tie in either, in the order of rows.
    """

    higher: list[Integers]
    pairs: Pairs
    scores: NDArray[Any]

    def of(self, axis: int, limits: Limits) -> Mask:
        """Return which pairs may tie with the thresholds of the rows (axis 0) or of the columns (axis 1)."""
        return within(self.scores, self.pairs[axis], limits[axis])


class Float32Tiles:
    """Tiles by numpy in float32; see `CountTile`."""

    def __init__(self, rows: Matrix, columns: Matrix, thresholds: list[Thresholds]) -> None:
        self.tile = CPU_TILE
        self._rows, self._columns = rows, columns
        self._limits = [one.limits() for one in thresholds]
        self._scratch = Scratch(len(rows), len(columns), np.float32)
        # First rows of tiles with many equal scores: a collapsed model has more of them beside such a tile.
        self._crowded: set[int] = set()

    def __call__(self, tile: Tile) -> list[Found] | None:
        """Return the counts of the tile; see `CountTile`."""
        if tile.rows.start in self._crowded:
            return None
        left, right = self._rows[tile.rows], self._columns[tile.columns]
        scores = np.matmul(left, right.T, out=self._scratch.scores(len(left), len(right)))
        scores[tile.skipped] = -np.inf
        limits = limits_of(self._limits, tile)
        near = compare(scores, limits, scores.size // MANY, self._scratch)
        if near is None:
            self._crowded.add(tile.rows.start)
            return None
        return [Found(higher, chosen(near.pairs, near.of(axis, limits))) for axis, higher in enumerate(near.higher)]


def limits_of(limits: Limits, tile: Tile) -> Limits:
    """Return the limits of the rows and columns of a tile."""
    return [(low[part], high[part]) for (low, high), part in zip(limits, (tile.rows, tile.columns), strict=False)]


def compare(scores: NDArray[Any], limits: Limits, most: int, scratch: Scratch) -> Near | None:
    """Compare the scores (rows, columns) of a tile with its limits; None if more than `most` pairs may tie."""
    higher = [np.zeros(len(low), np.int64) for low, _ in limits]
    found: list[tuple[Integers, Integers, NDArray[Any]]] = []
    for top in range(0, len(scores), SLAB):
        own = slice(top, top + SLAB)
        slab = scores[own]
        above, reached, near = scratch.masks(*slab.shape)
        for axis, (low, high) in enumerate(limits):
            part = np.s_[own, None] if axis == 0 else np.s_[None, :]
            np.greater(slab, high[part], out=above)
            higher[axis][slice(None) if axis else own] += count_true(above, axis)
            np.greater_equal(slab, low[part], out=reached)
            np.logical_xor(above, reached, out=reached if axis else near)
            if axis:
                near |= reached
        places = np.flatnonzero(near)
        most -= len(places)
        if most < 0:
            return None
        row, column = np.divmod(places, scores.shape[1])
        found.append((row + top, column, slab[row, column]))
    row, column, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Near(higher, (row, column), values)


def within(scores: NDArray[Any], numbers: Integers, limits: tuple[NDArray[Any], NDArray[Any]]) -> Mask:
    """Return which scores (pairs,) may tie with the thresholds of their rows or columns `numbers` (pairs,)."""
    low, high = limits
    mask: Mask = (scores >= low[numbers]) & (scores <= high[numbers])
    return mask


def chosen(pairs: Pairs, mask: Mask) -> Pairs:
    """Return some of the pairs."""
    return pairs[0][mask], pairs[1][mask]
