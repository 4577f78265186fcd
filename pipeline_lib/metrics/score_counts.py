"""Counts, for the rows and columns of a score matrix, how many scores are above a threshold and how many equal it.

A rank does not need a sorted list. One matrix product in tiles serves both directions, and memory is that of the tiles
that are computed at a time. BLAS rounds the same pair differently at the edge of a matrix, so a score within rounding
of a threshold decides nothing: it is computed again in float64. Equal vectors therefore always tie, on every device.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.metrics.relevance import Positions

# Rounding error of a float32 inner product, relative to the norms. The largest of 19 widths from 64 to 4,096, for
# random and for nearly constant vectors, was 35 eps with OpenBLAS and 24 with MKL.
FLOAT32_ERROR = 64 * float(np.finfo(np.float32).eps)
# Two float64 scores of one pair differ by about 1e-14 of the norms.
EQUAL = 1e-12
MANY = 32  # above one undecided score in so many, the tile is computed in float64
EXACT_ROWS = 128
TILES = 4096  # that an executor has at a time
PAIR_BLOCK = 128  # pairs whose float64 copies stay in the cache

Matrix = NDArray[np.float32]
Values = NDArray[np.float64]
Integers = NDArray[np.int64]
Pairs = tuple[Integers, Integers]


@dataclass(frozen=True)
class Thresholds:
    """The score that the others of a row or column are compared with (infinity: none), and the margins; all (n,).

    Within `rounding` a float32 score decides nothing; within `equal` a float64 score ties.
    """

    scores: Values
    rounding: Values
    equal: Values

    def of(self, part: slice) -> "Thresholds":
        """Return those of some rows or columns."""
        return Thresholds(self.scores[part], self.rounding[part], self.equal[part])

    def limits(self) -> tuple[Matrix, Matrix]:
        """Return the lowest float32 score that may tie, and the highest."""
        return (self.scores - self.rounding).astype(np.float32), (self.scores + self.rounding).astype(np.float32)


class Found(NamedTuple):
    """What one tile says of its rows or columns.

    `higher` (n,) counts the scores above the margin; `undecided` are the (rows, columns) of the scores within it.
    """

    higher: Integers
    undecided: Pairs


class Tile(NamedTuple):
    """Rows and columns, and the pairs that count nowhere, counted from the corner of the tile, in the order of rows."""

    rows: slice
    columns: slice
    skipped: Pairs


class CountTile(Protocol):
    """Compares the scores of one tile with the thresholds of its rows, and of its columns if there are any."""

    tile: tuple[int, int]

    def __call__(self, tile: Tile) -> list[Found] | None:
        """Return the counts of the rows and of the columns, None if too many scores are undecided."""


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
        higher = count_true(scores > at + equal, axis)
        self.higher[part] += higher
        self.equal[part] += count_true(scores >= at - equal, axis) - higher

    def add_part(self, tally: "Tally", part: slice) -> None:
        """Add the counts of some rows or columns."""
        self.higher[part] += tally.higher
        self.equal[part] += tally.equal


def count_scores(
    rows: Matrix,
    columns: Matrix,
    thresholds: list[Thresholds],
    skipped: Positions,
    count_tile: CountTile,
    each: Callable[[Callable[[Tile], list[Tally]], Iterable[Tile]], Iterable[list[Tally]]] = map,
) -> list[Tally]:
    """Return the tally of the rows, and of the columns for a second entry of `thresholds`.

    `rows` are (rows, dim), `columns` (columns, dim), `skipped` the column numbers of each row that count nowhere.
    `each` is `map`, or that of an executor.
    """

    def counted(tile: Tile) -> list[Tally]:
        parts = (tile.rows, tile.columns)
        tallies = [Tally(limits.of(part)) for limits, part in zip(thresholds, parts, strict=False)]
        left, right = rows[tile.rows], columns[tile.columns]
        found = count_tile(tile)
        if found is None:
            for part, scores in _exact_scores(left, right, tile.skipped):
                for axis, tally in enumerate(tallies):
                    tally.add_tile(scores, slice(None) if axis else part, axis)
            return tallies
        for axis, (tally, (higher, undecided)) in enumerate(zip(tallies, found, strict=True)):
            tally.higher += higher
            tally.add(undecided[axis], pair_scores(left, right, *undecided))
        return tallies

    total = [Tally(limits) for limits in thresholds]
    tiles = _tiles(len(rows), len(columns), skipped, count_tile.tile)
    while some := list(islice(tiles, TILES)):
        for tile, tallies in zip(some, each(counted, some), strict=True):
            for one, tally, part in zip(total, tallies, (tile.rows, tile.columns), strict=False):
                one.add_part(tally, part)
    return total


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


def count_true(mask: NDArray[np.bool_], axis: int) -> Integers:
    """Return how many are true in each row (axis 0), or in each column (axis 1) of at most 255 rows."""
    if axis == 1:
        sums: NDArray[np.uint8] = np.add.reduce(mask.view(np.uint8), axis=0, dtype=np.uint8)
        return sums.astype(np.int64)
    ones: Integers = np.bitwise_count(np.packbits(mask, axis=1)).sum(axis=1, dtype=np.int64)
    return ones


def _tiles(num_rows: int, num_columns: int, skipped: Positions, tile: tuple[int, int]) -> Iterator[Tile]:
    height, width = tile
    for top in range(0, num_rows, height):
        r = slice(top, min(top + height, num_rows))
        counts = np.diff(skipped.indptr[r.start : r.stop + 1])
        row = np.repeat(np.arange(len(counts)), counts)
        column = skipped.indices[skipped.indptr[r.start] : skipped.indptr[r.stop]]
        for left in range(0, num_columns, width):
            c = slice(left, min(left + width, num_columns))
            inside = (column >= c.start) & (column < c.stop)
            yield Tile(r, c, (row[inside], column[inside] - c.start))


def _exact_scores(left: Matrix, right: Matrix, skipped: Pairs) -> Iterator[tuple[slice, Values]]:
    """Yield the float64 scores of a tile in blocks of rows."""
    transposed = right.astype(np.float64).T
    for top in range(0, len(left), EXACT_ROWS):
        part = slice(top, min(top + EXACT_ROWS, len(left)))
        scores = left[part].astype(np.float64) @ transposed
        row = skipped[0] - top
        inside = (row >= 0) & (row < len(scores))
        scores[row[inside], skipped[1][inside]] = -np.inf
        yield part, scores
