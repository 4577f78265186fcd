"""Finds the pairs of photos that show the same picture, and those that differ in a small part of it only.

The hashes give candidates. A comparison of 16 x 16 maps, with a tolerance for the unknown shift, leaves few of them,
and these are aligned and compared pixel by pixel. Thumbnails are read block by block, and no list of all pairs is held.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.catalogue.alignment import FAR_STEPS, NEAR_STEPS, differences, halved, neighbour_levels, resample
from pipeline_lib.catalogue.hashing import (
    BOXES,
    MIRRORED,
    NUM_VIEWS,
    Candidates,
    Views,
    close_pairs,
    hash_views,
)
from pipeline_lib.catalogue.thumbnails import MAP, SIDE, Rows, bordered, colour_map, log_aspect, luma, map_bytes

# Largest difference of log2 of the aspect ratio.
LOG_ASPECT = 0.3
# Largest difference of the mean of a chroma channel, and how many cells of the map the tolerance reaches: for goods
# with a border on all sides, and for other photos.
ANCHORED_CHROMA, FREE_CHROMA = 6.0, 10.0
ANCHORED_REACH, FREE_REACH = 0.5, 1.0
# Noise of a cell of the map: levels of luma, of chroma.
MAP_NOISE = np.array([6.0, 8.0, 8.0], dtype=np.float32)
# Largest share of the map's cells that may differ: of the same picture before alignment, and of perhaps the same one.
# Without a border the map says little before alignment.
SAME_CELLS, PERHAPS_CELLS, FREE_CELLS = 0.02, 0.03, 0.05
FREE_CELLS_BEFORE = 0.15
# Pairs that are aligned of each photo and block of the search, so that thousands of near-equal goods take no hours. A
# copy is among the closest ones; without a border, the others of them are no pairs at all.
ANCHORED_ALIGNED, FREE_ALIGNED = 5, 32
# Differences up to SAME are of one picture; those of perhaps the same one begin at PERHAPS.
SAME, PERHAPS = 1.0, 2.0
ROWS_PER_CHUNK, PAIRS_PER_CHUNK = 512, 64


@dataclass(frozen=True)
class PhotoPairs:
    """Pairs of photos that look alike, (pairs,) each: the same picture, or the same but for a small part.

    `difference` orders the pairs: up to SAME for the same picture, from PERHAPS on otherwise.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    difference: NDArray[np.float32]


def look_alikes(rows: Rows, max_bits: int) -> Iterator[PhotoPairs]:
    """Yield every pair of thumbnails (photos, BYTES) that look alike, once; `max_bits` is that of the hashes."""
    views, chroma, aspect = _features(rows)
    anchored = bordered(rows)
    for pairs in close_pairs(views, anchored, max_bits):
        fixed = anchored[pairs.viewed] & anchored[pairs.plain]
        differ = np.abs(chroma[pairs.viewed] - chroma[pairs.plain]).max(axis=1)
        near = differ <= np.where(fixed, ANCHORED_CHROMA, FREE_CHROMA)
        near &= np.abs(aspect[pairs.viewed] - aspect[pairs.plain]) <= LOG_ASPECT
        yield from _anchored(rows, pairs.select(near & fixed))
        yield from _free(rows, pairs.select(near & ~fixed))


def _features(rows: Rows) -> tuple[Views, NDArray[np.float32], NDArray[np.float32]]:
    """Return the views, mean chroma (photos, 2) and log2 of the aspect ratio of all photos."""
    parts, chroma, aspect = [], [], []
    for start in range(0, len(rows), ROWS_PER_CHUNK):
        chunk = np.asarray(rows[start : start + ROWS_PER_CHUNK])
        parts.append(hash_views(chunk))
        chroma.append(colour_map(chunk)[:, 1:].mean(axis=(2, 3), dtype=np.float32))
        aspect.append(log_aspect(chunk))
    views = Views(
        np.concatenate([part.hashes for part in parts]),
        np.concatenate([part.brightness for part in parts]),
        np.concatenate([part.informative for part in parts]),
    )
    return views, np.concatenate(chroma), np.concatenate(aspect)


def _anchored(rows: Rows, pairs: Candidates) -> Iterator[PhotoPairs]:
    share = differing_cells(rows, pairs, ANCHORED_REACH)
    pairs, share = pairs.select(share <= PERHAPS_CELLS), share[share <= PERHAPS_CELLS]
    largest = np.full(len(share), np.inf, dtype=np.float32)
    close = (share <= SAME_CELLS) & _closest(pairs, share, ANCHORED_ALIGNED)
    largest[close], _ = _aligned(rows, pairs.select(close), NEAR_STEPS)
    yield PhotoPairs(pairs.viewed, pairs.plain, np.where(largest <= SAME, largest, PERHAPS + share).astype(np.float32))


def _free(rows: Rows, pairs: Candidates) -> Iterator[PhotoPairs]:
    share = differing_cells(rows, pairs, FREE_REACH)
    pairs = pairs.select((share <= FREE_CELLS_BEFORE) & _closest(pairs, share, FREE_ALIGNED))
    largest, share = _aligned(rows, pairs, FAR_STEPS)
    alike = (largest <= SAME) | (share <= FREE_CELLS)
    difference = np.where(largest <= SAME, largest, PERHAPS + share).astype(np.float32)
    yield PhotoPairs(pairs.viewed[alike], pairs.plain[alike], difference[alike])


def _closest(pairs: Candidates, share: NDArray[np.float32], limit: int) -> NDArray[np.bool_]:
    """Return which pairs are among the `limit` of their photo `viewed` with the closest hashes, then maps."""
    order = np.lexsort((share, pairs.bits, pairs.viewed))
    ordered = pairs.viewed[order]
    start = np.searchsorted(ordered, ordered)
    chosen = np.zeros(len(order), dtype=np.bool_)
    chosen[order] = np.arange(len(order)) - start < limit
    return chosen


def _aligned(rows: Rows, pairs: Candidates, steps: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the largest difference and the share of different cells of each pair after alignment."""
    largest, share = (np.zeros(len(pairs.view), dtype=np.float32) for _ in range(2))
    for start in range(0, len(pairs.view), PAIRS_PER_CHUNK):
        part = slice(start, start + PAIRS_PER_CHUNK)
        view = pairs.view[part]
        found = differences(rows[pairs.viewed[part]], rows[pairs.plain[part]], BOXES[view], MIRRORED[view], steps)
        largest[part], share[part] = found.largest, found.share
    return largest, share


def differing_cells(rows: Rows, pairs: Candidates, reach: float) -> NDArray[np.float32]:
    """Return the share of the cells of `plain`'s map that its view of `viewed` does not explain, (pairs,).

    A cell is explained by the range of levels that the view has within `reach` cells, in luma and both chromas.
    """
    shown, which, sizes = np.unique(pairs.viewed * NUM_VIEWS + pairs.view, return_inverse=True, return_counts=True)
    ranges = _ranges(rows[shown // NUM_VIEWS], shown % NUM_VIEWS, reach)
    low, high = (levels.reshape(len(shown), 3 * MAP * MAP) for levels in ranges)
    span = high - low
    order = np.argsort(which, kind="stable")
    every = map_bytes(rows)
    cells = np.zeros((len(which), 3), dtype=np.uint16)
    for number, members in enumerate(np.split(order, np.cumsum(sizes)[:-1]) if len(shown) else ()):
        # A level below `low` wraps around to a large number.
        above = every[pairs.plain[members]] - low[number]
        outside = np.packbits(above > span[number], axis=1).view(np.uint64)
        cells[members] = np.bitwise_count(outside).reshape(len(members), 3, -1).sum(axis=2, dtype=np.uint16)
    return np.asarray(cells.max(axis=1) / (MAP - 2) ** 2, dtype=np.float32)


def _ranges(rows: Rows, view: NDArray[np.int64], reach: float) -> tuple[Rows, Rows]:
    """Return the lowest and highest levels (rows, 3, 16, 16) that each cell of a view explains; any at the rim."""
    grey, maps = halved(luma(rows)), colour_map(rows).astype(np.float32)
    mirrored, boxes = MIRRORED[view], BOXES[view]
    grey[mirrored], maps[mirrored] = grey[mirrored, :, ::-1], maps[mirrored, :, :, ::-1]
    maps = resample(maps.reshape(-1, MAP, MAP), np.repeat(boxes, 3, axis=0), MAP)
    maps[::3] = halved(resample(grey, boxes, SIDE // 2))
    nearby, noise = neighbour_levels(maps), np.tile(MAP_NOISE, len(rows))[:, None, None]
    low, high = np.zeros(maps.shape, dtype=np.uint8), np.full(maps.shape, 255, dtype=np.uint8)
    lowest = np.floor(maps + reach * (nearby[0] - maps) - noise)
    highest = np.ceil(maps + reach * (nearby[1] - maps) + noise)
    low[:, 1:-1, 1:-1] = np.clip(lowest, 0, 255)[:, 1:-1, 1:-1]
    high[:, 1:-1, 1:-1] = np.clip(highest, 0, 255)[:, 1:-1, 1:-1]
    return low.reshape(-1, 3, MAP, MAP), high.reshape(-1, 3, MAP, MAP)
