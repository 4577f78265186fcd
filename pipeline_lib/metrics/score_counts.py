"""Counts, for the rows and columns of a score matrix, how many scores are above a threshold and how many equal it.

A rank does not need a sorted list. One matrix product in tiles serves both directions, and memory is that of a tile.
BLAS rounds the same pair differently at the edge of a matrix, so a score within rounding of a threshold decides
nothing: it is computed again in float64. Equal vectors therefore always tie, on every device.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.metrics.relevance import Positions

# Rounding error of a float32 inner product, relative to the norms. The largest of 19 widths from 64 to 4,096, for
# random and for nearly constant vectors, was 35 eps with OpenBLAS and 24 with MKL.
FLOAT32_ERROR = 64 * float(np.finfo(np.float32).eps)
# Two float64 scores of one pair differ by about 1e-14 of the norms.
EQUAL = 1e-12
CPU_TILE = (1024, 4096)
# Rows that are compared at a time: they stay in the cache, and the sum of so many ones fits in a byte.
SLAB, EXACT_ROWS = 64, 128
MANY = 32  # above one undecided score in so many, the tile is computed in float64
PAIR_BLOCK = 128  # pairs whose float64 copies stay in the cache

Matrix = NDArray[np.float32]
Values = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Thresholds:
    """The score that the others of a row or column are compared with (infinity: none), and the margins; all (n,).

    Within `rounding` a float32 score decides nothing; within `equal` a float64 score ties.
    """

    scores: Values
    rounding: Values
    equal: Values

    def limits(self, part: slice) -> tuple[Matrix, Matrix]:
        """Return the lowest float32 score that may tie, and the highest."""
        scores, rounding = self.scores[part], self.rounding[part]
        return (scores - rounding).astype(np.float32), (scores + rounding).astype(np.float32)


class Found(NamedTuple):
    """What one tile says of its rows or columns.

    `higher` (n,) counts the scores above the margin; `undecided` are the (rows, columns) of the scores within it.
    """

    higher: Integers
    undecided: tuple[Integers, Integers]


class CountTile(Protocol):
    """Compares the scores of one tile with the thresholds of its rows, and of its columns if there are any."""

    tile: tuple[int, int]

    def __call__(self, rows: slice, columns: slice, skipped: tuple[Integers, Integers]) -> list[Found] | None:
        """Return the counts of the rows and of the columns, None if too many scores are undecided.

        `skipped` pairs count nowhere.
        """


class Tally:
    """Scores above (`higher`) and equal to (`equal`) the thresholds of the rows or columns, (n,)."""

    def __init__(self, limits: Thresholds) -> None:
        self.limits = limits
        self.higher, self.equal = np.zeros((2, len(limits.scores)), np.int64)

    def add(self, numbers: Integers, scores: Values) -> None:
        """Count float64 scores (pairs,) of the rows or columns `numbers` (pairs,)."""
        at, equal = self.limits.scores[numbers], self.limits.equal[numbers]
        np.add.at(self.higher, numbers[scores > at + equal], 1)
        np.add.at(self.equal, numbers[(scores >= at - equal) & (scores <= at + equal)], 1)

    def add_tile(self, scores: Values, part: slice, axis: int) -> None:
        """Count all float64 scores of a tile, whose rows (axis 0) or columns (axis 1) are `part`."""
        at, equal = (np.expand_dims(one[part], 1 - axis) for one in (self.limits.scores, self.limits.equal))
        higher = _count(scores > at + equal, axis)
        self.higher[part] += higher
        self.equal[part] += _count(scores >= at - equal, axis) - higher


def count_scores(
    rows: Matrix, columns: Matrix, thresholds: list[Thresholds], skipped: Positions, count_tile: CountTile
) -> list[Tally]:
    """Return the tally of the rows, and of the columns for a second entry of `thresholds`.

    `rows` are (rows, dim), `columns` (columns, dim), `skipped` the column numbers of each row that count nowhere.
    """
    tallies = [Tally(limits) for limits in thresholds]
    for r, c, pairs in _tiles(len(rows), len(columns), skipped, count_tile.tile):
        found = count_tile(r, c, pairs)
        if found is None:
            for part, scores in _exact_scores(rows, columns, (r, c), pairs):
                for axis, tally in enumerate(tallies):
                    tally.add_tile(scores, (part, c)[axis], axis)
            continue
        for axis, (tally, (higher, undecided)) in enumerate(zip(tallies, found, strict=True)):
            tally.higher[(r, c)[axis]] += higher
            where = (undecided[0] + r.start, undecided[1] + c.start)
            tally.add(where[axis], pair_scores(rows, columns, *where))
    return tallies


def pair_scores(rows: Matrix, columns: Matrix, row: Integers, column: Integers) -> Values:
    """Return the inner products (pairs,) of the listed rows and columns in float64.

    The result depends on the two vectors only, so pairs of equal vectors have equal scores.
    """
    scores = np.empty(len(row), np.float64)
    for start in range(0, len(row), PAIR_BLOCK):
        part = slice(start, start + PAIR_BLOCK)
        products = rows[row[part]].astype(np.float64)
        products *= columns[column[part]]
        scores[part] = products.sum(axis=1)
    return scores


def norms(matrix: Matrix) -> Values:
    """Return the length of each row (rows,), computed in float64."""
    squares: NDArray[np.float64] = np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64)
    return np.sqrt(squares)


class CpuTiles:
    """Tiles by numpy: BLAS multiplies with its threads, then as many threads compare slabs of rows."""

    def __init__(self, rows: Matrix, columns: Matrix, thresholds: list[Thresholds]) -> None:
        self.tile = CPU_TILE
        self._rows, self._columns, self._thresholds = rows, columns, thresholds
        self._scores = np.empty((min(self.tile[0], len(rows)), min(self.tile[1], len(columns))), np.float32)
        self._pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
        self._crowded = False

    def __call__(self, rows: slice, columns: slice, skipped: tuple[Integers, Integers]) -> list[Found] | None:
        """Return the counts of the tile; see `CountTile`."""
        if self._crowded and columns.start > 0:  # right of a tile of equal scores: a collapsed model has more of them
            return None
        left, right = self._rows[rows], self._columns[columns]
        scores = np.matmul(left, right.T, out=self._scores.ravel()[: len(left) * len(right)].reshape(len(left), -1))
        scores[skipped] = -np.inf
        limits = [one.limits(part) for one, part in zip(self._thresholds, (rows, columns), strict=False)]

        def slab(start: int) -> list[Found]:
            part = scores[start : start + SLAB]
            low, high = (limit[start : start + SLAB, None] for limit in limits[0])
            found = [_compared(part, low, high, 0, start)]
            return [*found, *(_compared(part, low[None], high[None], 1, start) for low, high in limits[1:])]

        slabs = self._pool.map(slab, range(0, len(left), SLAB))
        found = [_joined(side, axis) for axis, side in enumerate(zip(*slabs, strict=True))]
        self._crowded = any(len(side.undecided[0]) * MANY > scores.size for side in found)
        return None if self._crowded else found

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown()


def _compared(scores: Matrix, low: Matrix, high: Matrix, axis: int, start: int) -> Found:
    higher, at_least = scores > high, scores >= low
    row, column = np.divmod(np.flatnonzero(higher ^ at_least), scores.shape[1])
    return Found(_count(higher, axis), (row + start, column))


def _count(mask: NDArray[np.bool_], axis: int) -> Integers:
    """Return how many are true in each row (axis 0), or in each column (axis 1) of at most 255 rows."""
    if axis == 1:
        sums: NDArray[np.uint8] = np.add.reduce(mask.view(np.uint8), axis=0, dtype=np.uint8)
        return sums.astype(np.int64)
    return np.fromiter((np.count_nonzero(row) for row in mask), np.int64, len(mask))


def _joined(slabs: Sequence[Found], axis: int) -> Found:
    higher = [found.higher for found in slabs]
    row, column = (np.concatenate(part) for part in zip(*(found.undecided for found in slabs), strict=True))
    return Found(np.sum(higher, axis=0) if axis else np.concatenate(higher), (row, column))


def _tiles(
    num_rows: int, num_columns: int, skipped: Positions, tile: tuple[int, int]
) -> Iterator[tuple[slice, slice, tuple[Integers, Integers]]]:
    """Yield the rows, the columns and the skipped pairs of each tile, the pairs counted from its corner."""
    height, width = tile
    for top in range(0, num_rows, height):
        r = slice(top, min(top + height, num_rows))
        counts = np.diff(skipped.indptr[r.start : r.stop + 1])
        row = np.repeat(np.arange(len(counts)), counts)
        column = skipped.indices[skipped.indptr[r.start] : skipped.indptr[r.stop]]
        for left in range(0, num_columns, width):
            c = slice(left, min(left + width, num_columns))
            inside = (column >= c.start) & (column < c.stop)
            yield r, c, (row[inside], column[inside] - c.start)


def _exact_scores(
    rows: Matrix, columns: Matrix, tile: tuple[slice, slice], skipped: tuple[Integers, Integers]
) -> Iterator[tuple[slice, Values]]:
    """Yield the float64 scores of a tile in blocks of rows."""
    r, c = tile
    right = columns[c].astype(np.float64).T
    for top in range(r.start, r.stop, EXACT_ROWS):
        part = slice(top, min(top + EXACT_ROWS, r.stop))
        scores = rows[part].astype(np.float64) @ right
        row = skipped[0] + r.start - top
        inside = (row >= 0) & (row < len(scores))
        scores[row[inside], skipped[1][inside]] = -np.inf
        yield part, scores
