"""Perceptual hashes of thumbnails, and all pairs of photos whose hashes are close.

A hash is the 128 signs of the horizontal and vertical gradients of a 9 x 9 grid (dHash). Crops and mirrored pictures
are found because each thumbnail is hashed as several views: a pair is close if a view of one photo has nearly the hash
and the brightness of the other photo. The search runs block by block, so its memory does not grow with the pairs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.catalogue.alignment import halved, resample
from pipeline_lib.catalogue.thumbnails import Rows, luma

GRID, OVERSAMPLING = 9, 2
NUM_BITS = 2 * (GRID - 1) ** 2
# Gradients below this number of grey levels are noise.
NOISE_LEVEL = 3.0
# A photo with fewer gradients above noise (blank, say) does not identify a product and matches no other.
MIN_GRADIENTS = 8
# Largest difference of mean brightness, in levels. Copies of 400 real photos (margin, crops, mirrored, shifted, JPEG
# quality 50) differ by less, each from the view that shows the same part.
BRIGHTNESS = 6.0
# The part of a thumbnail that a view shows: left, right, top, bottom in shares of the side.
CENTRED = [(cut, 1 - cut, cut, 1 - cut) for cut in (0.0, 0.03, 0.06)]
CORNERS = [(x, x + 0.94, y, y + 0.94) for x in (0.0, 0.06) for y in (0.0, 0.06)]
# The first view is the thumbnail itself; the last ones are mirrored.
BOXES = np.array([*CENTRED, *CORNERS, *CENTRED[:2]], dtype=np.float32)
MIRRORED = np.arange(len(BOXES)) >= len(CENTRED) + len(CORNERS)
NUM_VIEWS = len(BOXES)
# Numbers of all views, and of those without a crop.
ALL, WHOLE = np.arange(NUM_VIEWS), np.array([0, int(MIRRORED.argmax())])
# Goods with a border on all sides are found with so few different bits.
ANCHORED_BITS = 12
# Photos of a block, and the mark of a pair that is not close.
BLOCK, FAR = 64, 65_535


Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Views:
    """Hashes (photos, NUM_VIEWS, 2) uint64, mean brightness (photos, NUM_VIEWS), and whether a photo is not blank."""

    hashes: NDArray[np.uint64]
    brightness: NDArray[np.float32]
    informative: NDArray[np.bool_]


@dataclass(frozen=True)
class Candidates:
    """Pairs of photos, (pairs,) each: the view `view` of the photo `viewed` differs from `plain` in `bits` bits."""

    viewed: NDArray[np.int64]
    plain: NDArray[np.int64]
    view: NDArray[np.int64]
    bits: NDArray[np.int64]

    def select(self, rows: NDArray[np.bool_]) -> "Candidates":
        """Return some of the pairs."""
        return Candidates(self.viewed[rows], self.plain[rows], self.view[rows], self.bits[rows])


def hash_views(rows: Rows) -> Views:
    """Return the views of thumbnails (photos, 4609)."""
    grey = halved(luma(rows))
    hashes = np.zeros((len(rows), NUM_VIEWS, 2), dtype=np.uint64)
    brightness = np.zeros((len(rows), NUM_VIEWS), dtype=np.float32)
    informative = np.zeros(len(rows), dtype=np.bool_)
    for view, box in enumerate(BOXES):
        fine = resample(grey[:, :, ::-1] if MIRRORED[view] else grey, np.tile(box, (len(rows), 1)), GRID * OVERSAMPLING)
        grid = fine.reshape(-1, GRID, OVERSAMPLING, GRID, OVERSAMPLING).mean(axis=(2, 4))
        across, down = np.diff(grid, axis=2), np.diff(grid, axis=1)
        across, down = (across[:, :-1] + across[:, 1:]) / 2, (down[:, :, :-1] + down[:, :, 1:]) / 2
        gradients = np.concatenate([across.reshape(len(rows), -1), down.reshape(len(rows), -1)], axis=1)
        hashes[:, view] = np.packbits(gradients > NOISE_LEVEL, axis=1).view(np.uint64)
        brightness[:, view] = grid.mean(axis=(1, 2))
        if view == 0:
            informative = (np.abs(gradients) > NOISE_LEVEL).sum(axis=1) >= MIN_GRADIENTS
    return Views(hashes, brightness, informative)


def close_pairs(views: Views, anchored: NDArray[np.bool_], max_bits: int) -> Iterator[Candidates]:
    """Yield every close pair of informative photos once, with the view of either photo that is closest.

    Views are close if they differ in at most `max_bits` bits and BRIGHTNESS levels. Goods with a border on all sides,
    `anchored` (photos,), lie in one place of both thumbnails: no crop of one is the other, and few bits differ.
    """
    fixed, free = (np.flatnonzero(views.informative & mask) for mask in (anchored, ~anchored))
    yield from _search(views, fixed, fixed, WHOLE, min(max_bits, ANCHORED_BITS))
    yield from _search(views, free, np.concatenate([free, fixed]), ALL, max_bits)
    yield from _search(views, fixed, free, ALL, max_bits)


def _search(views: Views, viewed: Indices, plain: Indices, chosen: Indices, max_bits: int) -> Iterator[Candidates]:
    """Yield the pairs whose closest view is one of `viewed`; `chosen` numbers the views that are compared.

    Both lists are ordered by brightness, so each block is compared with one contiguous part only.
    """
    viewed, plain = (rows[np.argsort(views.brightness[rows, 0], kind="stable")] for rows in (viewed, plain))
    hashes, level = _bytes(views.hashes[plain, 0]), views.brightness[plain, 0]
    for start in range(0, len(viewed), BLOCK):
        own = viewed[start : start + BLOCK]
        levels = views.brightness[own[:, None], chosen]
        low, high = np.searchsorted(level, (levels.min() - BRIGHTNESS, levels.max() + BRIGHTNESS))
        index = faiss.IndexBinaryFlat(NUM_BITS)
        index.add(hashes[low : high + 1])
        queries = _bytes(views.hashes[own[:, None], chosen].reshape(-1, 2))
        limits, bits, found = index.range_search(queries, max_bits + 1)
        ends = limits.astype(np.int64)
        row, view = np.divmod(np.repeat(np.arange(len(queries)), ends[1:] - ends[:-1]), len(chosen))
        near = np.abs(levels[row, view] - level[low + found]) <= BRIGHTNESS
        width = index.ntotal
        best = np.full(own.size * width, FAR, dtype=np.uint16)
        code = (bits.astype(np.uint16) * NUM_VIEWS + view.astype(np.uint16))[near]
        np.minimum.at(best, (row * width + found)[near], code)
        place = np.flatnonzero(best < FAR)
        first, second = own[place // width], plain[low + place % width]
        distance, view = np.divmod(best[place], NUM_VIEWS)
        # The search finds a pair from its other side as well, if a view of that photo is close: the closer one counts.
        back = _nearest_view(views, second, first, chosen)
        once = (first != second) & ((distance < back) | ((distance == back) & (first < second)))
        yield Candidates(first[once], second[once], chosen[view[once]], distance[once].astype(np.int64))


def _nearest_view(views: Views, viewed: Indices, plain: Indices, chosen: Indices) -> NDArray[np.uint8]:
    """Return in how many bits the closest view of `viewed` differs from `plain`; 255 = none has its brightness."""
    nearest = np.full(len(viewed), 255, dtype=np.uint8)
    own = views.hashes[plain, 0]
    level = views.brightness[plain, 0]
    for view in chosen.tolist():
        bits = np.bitwise_count(views.hashes[viewed, view] ^ own)
        distance = bits[:, 0] + bits[:, 1]
        far = np.abs(views.brightness[viewed, view] - level) > BRIGHTNESS
        np.minimum(nearest, np.where(far, np.uint8(255), distance), out=nearest)
    return nearest


def _bytes(hashes: NDArray[np.uint64]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(hashes).view(np.uint8)
