"""Near-duplicate photos by perceptual hash, and the groups that must never straddle a fold.

A photo is a 9 x 9 grid of mean colours. Its 128 bits are the signs of the grid's horizontal and vertical gradients
(dHash; gradients too faint to be more than noise count as none). Pairs come from banding: with at most d differing
bits, one of d + 1 bands is equal, so only equal bands are compared, never everything with everything. A pair must
also agree in colour, cell by cell: products that differ in colour only, or in what a hand holds, stay apart.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

NUM_BITS = 128
# Gray levels below which a gradient is JPEG noise. With these values 98 to 100 % of 1,200 real photos are found again
# after re-encoding at quality 60 or shrinking to half.
FAINT = 4.0
# A photo with fewer real gradients (blank, a placeholder) says nothing about its product and is like no other.
MIN_GRADIENTS = 8
# Largest colour difference in gray levels, mean over the grid and in any one cell. Looked at on real photo pairs:
# beyond these, two poses or two products before one background begin.
MEAN_COLOUR, CELL_COLOUR = 4.0, 32.0
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
CHUNK = 65_536

Grids = NDArray[np.uint8]
Indices = NDArray[np.int64]


def near_pairs(grids: Grids, max_bits: int) -> Indices:
    """Return pairs (pairs, 2) of photos that are linked as near-duplicates, from grids (photos, 9, 9, 3).

    Equal grids are linked in a chain rather than each with each, so the pairs are enough for grouping, not a full list.
    """
    if max_bits < 0 or len(grids) == 0:
        return np.zeros((0, 2), dtype=np.int64)
    flat = np.ascontiguousarray(grids.reshape(len(grids), -1))
    rows = flat.view(np.dtype((np.void, flat.shape[1])))[:, 0]
    _, first, which = np.unique(rows, return_index=True, return_inverse=True)
    bits, informative = _hash(grids[first])
    chain = np.stack([first[which], np.arange(len(grids))], axis=1)
    chain = chain[informative[which] & (chain[:, 0] != chain[:, 1])]
    telling = first[informative]
    found = list(_banded_pairs(bits[informative], flat[telling], max_bits))
    return np.concatenate([chain, *(telling[pairs] for pairs in found)])


def group_products(
    product_ids: Sequence[str], groups: Sequence[str | None], photo_product: Indices, pairs: Indices
) -> list[str]:
    """Return each product's group_id: products are joined by near-duplicate photos and by their own group's name.

    A group is called by the smallest of the given names in it, else by its smallest product id; a given name that is
    another group's product id is passed over, so that two groups never share an id.
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
    owner = {product_id: component[row] for row, product_id in enumerate(product_ids)}
    called: dict[int, str] = {}
    for name in sorted(code):
        part = component[code[name]]
        if owner.get(name, part) == part:
            called.setdefault(part, name)
    for product_id in sorted(product_ids):
        called.setdefault(owner[product_id], product_id)
    return [called[part] for part in component[:num_products]]


def _hash(grids: Grids) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Return the bits, packed (photos, 2), and whether enough gradients are more than noise; both chunk by chunk."""
    packed = np.zeros((len(grids), 2), dtype=np.uint64)
    informative = np.zeros(len(grids), dtype=np.bool_)
    for start in range(0, len(grids), CHUNK):
        gray = grids[start : start + CHUNK].astype(np.float32) @ LUMA
        across = np.diff(gray, axis=2)
        down = np.diff(gray, axis=1)
        across, down = (across[:, :-1] + across[:, 1:]) / 2, (down[:, :, :-1] + down[:, :, 1:]) / 2
        gradients = np.concatenate([across.reshape(len(gray), -1), down.reshape(len(gray), -1)], axis=1)
        packed[start : start + CHUNK] = np.packbits(gradients > FAINT, axis=1).view(np.uint64)
        informative[start : start + CHUNK] = (np.abs(gradients) > FAINT).sum(axis=1) >= MIN_GRADIENTS
    return packed, informative


def _banded_pairs(bits: NDArray[np.uint64], flat: Grids, max_bits: int) -> Iterator[Indices]:
    """Yield verified pairs of rows; a pair may come from several bands."""
    total = flat.sum(axis=1, dtype=np.int64)
    for band in range(max_bits + 1):
        mask = np.zeros(NUM_BITS, dtype=np.uint8)
        mask[band :: max_bits + 1] = 1  # interleaved: a plain background fills no band alone
        key = bits & np.packbits(mask).view(np.uint64)
        order = np.lexsort((total, key[:, 1], key[:, 0]))
        key, sums = key[order], total[order]
        start = np.arange(len(order))
        for step in range(1, len(order)):
            start = start[start + step < len(order)]
            after = start + step
            # Sorted by brightness within a band: once a pair is too far apart, all later ones are.
            near = sums[after] - sums[start] <= MEAN_COLOUR * flat.shape[1]
            start = start[near & (key[after] == key[start]).all(axis=1)]
            if len(start) == 0:
                break
            yield from _verified(bits, flat, np.stack([order[start], order[start + step]], axis=1), max_bits)


def _verified(bits: NDArray[np.uint64], flat: Grids, pairs: Indices, max_bits: int) -> Iterator[Indices]:
    distance = np.bitwise_count(bits[pairs[:, 0]] ^ bits[pairs[:, 1]]).sum(axis=1)
    pairs = pairs[distance <= max_bits]
    for start in range(0, len(pairs), CHUNK):
        part = pairs[start : start + CHUNK]
        differ = np.abs(flat[part[:, 0]].astype(np.int16) - flat[part[:, 1]])
        cells = differ.reshape(len(part), -1, 3).mean(axis=2)
        yield part[(cells.mean(axis=1) <= MEAN_COLOUR) & (cells.max(axis=1) <= CELL_COLOUR)]
