"""Tiles of `score_counts` on a CPU that computes in bf16: products of rounded vectors decide most pairs.

A bound says how far a product of rounded vectors is from the exact one (see `Rounded`), and only pairs that are as near
to a threshold are computed again, in float32. Products are rounded to bf16 themselves, and so are the limits that they
are compared with, which keeps the order. Where many pairs are near, as those of an untrained model, float32 is faster.
"""

import math
import warnings
from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline_lib.metrics.cpu_counts import Float32Tiles, Near, Scratch, chosen, compare, limits_of, within
from pipeline_lib.metrics.pair_products import allow_sparse_rows, products_of_pairs, rounded
from pipeline_lib.metrics.score_counts import Found, Matrix, Thresholds, Tile, Values

# Above one pair in so many near a threshold, a float32 tile is faster.
MANY_NEAR = 20
PROBED_ROWS = 64  # are compared before the others of the first tile of the same rows
ROUNDED_ROWS = ORDERED_ROWS = 256  # rows whose copies stay in the cache
LONGEST = 1e38  # product of two lengths whose scores are finite in float32

Codes = NDArray[np.int16]
LOWEST = np.int16(-128)  # bits of -infinity


class Bf16Tiles:
    """Tiles by torch in bf16, else by `Float32Tiles`; see `CountTile`.

    `each` is the `map` of threads in which torch has one thread. There is a copy of rows and columns in bf16.
    """

    def __init__(
        self, rows: Matrix, columns: Matrix, thresholds: list[Thresholds], each: Callable[..., Iterable[None]]
    ) -> None:
        self._float32 = Float32Tiles(rows, columns, thresholds)
        self.tile = self._float32.tile
        allow_sparse_rows()
        sides = [_Side(part, each) for part in (rows, columns)]
        self._full, self._short = [side.full for side in sides], [side.short for side in sides]
        self._exact = [one.limits() for one in thresholds]
        self._scratch = Scratch(len(rows), len(columns), np.int16)
        self._finite = sides[0].length.max() * sides[1].length.max() < LONGEST
        errors = [_errors(*sides), _errors(*reversed(sides))] if self._finite else []
        self._limits = [_codes(one, error) for one, error in zip(thresholds, errors, strict=False)]
        # First rows of tiles with many pairs near a threshold, and of tiles whose first rows have few.
        self._dense: set[int] = set()
        self._probed: set[int] = set()

    def __call__(self, tile: Tile) -> list[Found] | None:
        """Return the counts of the tile; see `CountTile`."""
        near = self._near(tile)
        if near is None:
            self._dense.add(tile.rows.start)
            return self._float32(tile)
        left, right = self._full[0][tile.rows], self._full[1][tile.columns]
        limits, exact = limits_of(self._limits, tile), limits_of(self._exact, tile)
        values = products_of_pairs(left, right, *map(torch.from_numpy, near.pairs)).numpy()
        found = []
        for axis, higher in enumerate(near.higher):
            numbers, open_ones = near.pairs[axis], near.of(axis, limits)
            above = numbers[open_ones & (values > exact[axis][1][numbers])]
            higher += np.bincount(above, minlength=len(higher))
            found.append(Found(higher, chosen(near.pairs, open_ones & within(values, numbers, exact[axis]))))
        return found

    def _near(self, tile: Tile) -> Near | None:
        """Return what products in bf16 leave open; None if it is too much, or was in a tile of the same rows."""
        start = tile.rows.start
        if start in self._dense or not self._finite:
            return None
        if start not in self._probed:
            rows = slice(start, min(start + PROBED_ROWS, tile.rows.stop))
            skipped = chosen(tile.skipped, tile.skipped[0] < PROBED_ROWS)
            if self._compared(Tile(rows, tile.columns, skipped)) is None:
                return None
            self._probed.add(start)
        return self._compared(tile)

    def _compared(self, tile: Tile) -> Near | None:
        left, right = self._short[0][tile.rows], self._short[1][tile.columns]
        scores = self._scratch.scores(len(left), len(right))
        torch.mm(left, right.T, out=torch.from_numpy(scores).view(torch.bfloat16))
        scores[tile.skipped] = LOWEST
        limits = limits_of(self._limits, tile)
        # Numbers above zero have the order of their bits, and the bits of all others are below theirs.
        if not all((low > 0).all() for low, _ in limits):
            _order(scores)
        return compare(scores, limits, scores.size // MANY_NEAR, self._scratch)


class _Side:
    """Rows in float32 and in bf16, and the lengths that rounding takes and their own, (n,); see `Rounded`."""

    def __init__(self, rows: Matrix, each: Callable[..., Iterable[None]]) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            self.full = torch.from_numpy(rows)  # nobody writes into it
        self.short = torch.empty(rows.shape, dtype=torch.bfloat16)
        self.lost, self.length = np.empty((2, len(rows)))

        def fill(start: int) -> None:
            part = slice(start, start + ROUNDED_ROWS)
            self.short[part], lost, length = rounded(self.full[part], torch.bfloat16)
            self.lost[part], self.length[part] = lost.numpy(), length.numpy()

        for _ in each(fill, range(0, len(rows), ROUNDED_ROWS)):
            pass


def _errors(side: _Side, other: _Side) -> Values:
    """Return by how much a product of a rounded row of one side with any of the other may differ from theirs, (n,)."""
    dim, single = side.short.shape[1], torch.finfo(torch.float32)
    # Numbers below the smallest normal one may be lost, in the squares of a length as in the products.
    floor = math.sqrt(dim * single.tiny)
    lost, length = side.lost + floor, side.length + floor
    far_lost, far = other.lost.max() + floor, other.length.max() + floor
    # Products of two bf16 numbers are exact in float32, their sum is not; nor are the lengths.
    rounding = dim * single.eps
    found: Values = (lost * far + length * far_lost) * (1 + rounding) + rounding * length * far
    return found


def _codes(thresholds: Thresholds, errors: Values) -> tuple[Codes, Codes]:
    """Return the lowest bf16 product that may tie and the highest, as integers of the same order."""
    margins = errors + thresholds.equal
    codes = []
    for limit in (thresholds.scores - margins, thresholds.scores + margins):
        bits = limit.astype(np.float32).view(np.uint32)
        nearest = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16  # ties to even, as processors round
        codes.append(_order(nearest.astype(np.uint16).view(np.int16)))
    low, high = codes
    # Both zeros are one number.
    low[low == 0], high[high == -1] = -1, 0
    return low, high


def _order(bits: Codes) -> Codes:
    """Make bits of bf16 numbers integers of the same order, in place: those of numbers below zero are turned round."""
    for start in range(0, len(bits), ORDERED_ROWS):
        part = bits[start : start + ORDERED_ROWS]
        signs = part >> 15
        signs &= 0x7FFF
        part ^= signs
    return bits
