"""Finds near-duplicate photos by a perceptual hash, and the groups of products that must stay in one fold.

A photo is a 9 x 9 grid of mean colours. Its 128 bits are the signs of the grid's horizontal and vertical gradients
(dHash); gradients within JPEG noise count as zero. Banding finds the candidate pairs: if two hashes differ in at most
2 b - 1 bits, one of b bands differs in at most one bit. Rows are therefore sorted by each band, with each bit left out
in turn, and only equal rows are compared. A pair must also agree in colour in every cell, so that products which differ
only in colour or in a detail are no duplicates.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Gradients below this number of gray levels are JPEG noise. With these values 98 to 100 % of 1,200 real photos are
# found again after re-encoding at quality 60 or resizing to half.
NOISE_LEVEL = 4.0
# A photo with fewer gradients above noise (blank, a placeholder) does not identify a product and matches no other.
MIN_GRADIENTS = 8
# Largest colour difference of a pair in gray levels: mean over the grid, and in any cell. Above these values real pairs
# show two poses, or two products on the same background.
MEAN_COLOUR, CELL_COLOUR = 4.0, 32.0
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
CHUNK = 65_536

Grids = NDArray[np.uint8]
Indices = NDArray[np.int64]


def near_pairs(grids: Grids, max_bits: int) -> Indices:
    """Return index pairs (pairs, 2) that link near-duplicate photos, from grids (photos, 9, 9, 3).

    Equal grids are linked to the first of them only. The pairs are sufficient for grouping, but not a complete list.
    """
    if max_bits < 0 or len(grids) == 0:
        return np.zeros((0, 2), dtype=np.int64)
    flat = np.ascontiguousarray(grids.reshape(len(grids), -1))
    rows = flat.view(np.dtype((np.void, flat.shape[1])))[:, 0]
    _, first, which = np.unique(rows, return_index=True, return_inverse=True)
    bits, informative = _hash(grids[first])
    chain = np.stack([first[which], np.arange(len(grids))], axis=1)
    chain = chain[informative[which] & (chain[:, 0] != chain[:, 1])]
    candidates = first[informative]
    pair_lists = list(_banded_pairs(bits[informative], flat[candidates], max_bits))
    return np.concatenate([chain, *(candidates[pairs] for pairs in pair_lists)])


def group_products(
    product_ids: Sequence[str], groups: Sequence[str | None], photo_product: Indices, pairs: Indices
) -> list[str]:
    """Return each product's group_id; near-duplicate photos and equal group names of the table join products.

    A group's id is the smallest group name in it, or its smallest product id if it has no name. A name that is a
    product id of another group is skipped, so that two groups never have the same id.
    """
    num_products = len(product_ids)
    code: dict[str, int] = {}
    for name in groups:
        if name is not None:
            code.setdefault(name, num_products + len(code))
    named = [(row, code[name]) for row, name in enumerate(groups) if name is not None]
    edges = np.concatenate([photo_product[pairs].reshape(-1, 2), np.array(named, dtype=np.int64).reshape(-1, 2)])
    size = num_products + len(code)
    graph = coo_array((np.ones(len(edges), dtype=np.int8), (edges[:, 0], edges[:, 1])), shape=(size, size))
    _, component = connected_components(graph, directed=False)
    component_of = {product_id: component[row] for row, product_id in enumerate(product_ids)}
    group_ids: dict[int, str] = {}
    for name in sorted(code):
        part = component[code[name]]
        if component_of.get(name, part) == part:
            group_ids.setdefault(part, name)
    for product_id in sorted(product_ids):
        group_ids.setdefault(component_of[product_id], product_id)
    return [group_ids[part] for part in component[:num_products]]


def _hash(grids: Grids) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Return the packed bits (photos, 2), and whether a photo has enough gradients above noise (photos,)."""
    packed = np.zeros((len(grids), 2), dtype=np.uint64)
    informative = np.zeros(len(grids), dtype=np.bool_)
    for start in range(0, len(grids), CHUNK):
        gray = grids[start : start + CHUNK].astype(np.float32) @ LUMA
        across = np.diff(gray, axis=2)
        down = np.diff(gray, axis=1)
        across, down = (across[:, :-1] + across[:, 1:]) / 2, (down[:, :, :-1] + down[:, :, 1:]) / 2
        gradients = np.concatenate([across.reshape(len(gray), -1), down.reshape(len(gray), -1)], axis=1)
        packed[start : start + CHUNK] = np.packbits(gradients > NOISE_LEVEL, axis=1).view(np.uint64)
        informative[start : start + CHUNK] = (np.abs(gradients) > NOISE_LEVEL).sum(axis=1) >= MIN_GRADIENTS
    return packed, informative


def _banded_pairs(bits: NDArray[np.uint64], flat: Grids, max_bits: int) -> Iterator[Indices]:
    """Yield verified pairs of rows; several bands may yield the same pair."""
    brightness = flat.sum(axis=1, dtype=np.int64)
    window = int(MEAN_COLOUR * flat.shape[1])  # a larger difference of the sums implies a larger mean difference
    num_bands = max(2, (max_bits + 2) // 2)  # max_bits differing bits leave one band with at most one
    for band in range(num_bands):
        every = np.unpackbits(bits.view(np.uint8), axis=1)[
            :, band::num_bands
        ]  # interleaved, so that no band covers plain background only
        width = every.shape[1]
        padded = np.pad(every, ((0, 0), (0, 64 - width)))
        key = np.packbits(padded, axis=1, bitorder="little").view(np.uint64)[:, 0]
        for pairs in _same_key(key, None, brightness, window):
            yield from _verified(bits, flat, pairs, max_bits)
        for bit in range(width):
            mask = np.uint64(1 << bit)
            for pairs in _same_key(key & ~mask, (key & mask) != 0, brightness, window):
                yield from _verified(bits, flat, pairs, max_bits)


def _same_key(
    key: NDArray[np.uint64], side: NDArray[np.bool_] | None, brightness: Indices, window: int
) -> Iterator[Indices]:
    """Yield pairs (pairs, 2) of rows with equal keys and similar brightness; if `side` is given, of different sides.

    Rows are sorted by one number: the key's rank, 1 bit for the side, and 16 bits for the brightness (at most
    243 * 255). The partners of a row are then one contiguous range.
    """
    order = np.argsort(key)
    ranks = np.concatenate([[0], np.cumsum(np.diff(key[order]) != 0)]) if len(key) else order
    crowded = np.bincount(ranks, minlength=1)[ranks] > 1
    order, ranks = order[crowded], ranks[crowded]
    place = (ranks.astype(np.int64) << 17) + brightness[order]
    if side is not None:
        place += side[order].astype(np.int64) << 16
    inner = np.argsort(place)
    order, place = order[inner], place[inner]
    if side is None:
        own = np.arange(len(place))
        first, end = own + 1, np.searchsorted(place, place + window, side="right")
    else:
        own = np.flatnonzero(~side[order])
        across = place[own] + (1 << 16)
        first, end = np.searchsorted(place, across - window), np.searchsorted(place, across + window, side="right")
    counts = end - first
    total = np.cumsum(counts)
    cuts = np.searchsorted(total, np.arange(CHUNK, total[-1] if len(total) else 0, CHUNK))
    for part in np.split(np.arange(len(own)), np.unique(cuts)):
        left = np.repeat(own[part], counts[part])
        begin = np.repeat(first[part] - (total[part] - counts[part]), counts[part])
        right = begin + np.arange(len(left)) + (total[part[0]] - counts[part[0]] if len(part) else 0)
        yield np.stack([order[left], order[right]], axis=1)


def _verified(bits: NDArray[np.uint64], flat: Grids, pairs: Indices, max_bits: int) -> Iterator[Indices]:
    distance = np.bitwise_count(bits[pairs[:, 0]] ^ bits[pairs[:, 1]]).sum(axis=1)
    pairs = pairs[distance <= max_bits]
    for start in range(0, len(pairs), CHUNK):
        part = pairs[start : start + CHUNK]
        differ = np.abs(flat[part[:, 0]].astype(np.int16) - flat[part[:, 1]])
        cells = differ.reshape(len(part), -1, 3).mean(axis=2)
        yield part[(cells.mean(axis=1) <= MEAN_COLOUR) & (cells.max(axis=1) <= CELL_COLOUR)]
