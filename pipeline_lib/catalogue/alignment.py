"""Compares the pixels of two thumbnails after aligning them.

The alignment is that of Lucas and Kanade (IJCAI 1981) for scale and shift on each axis, from a start that is right to
within a few percent. What then differs by more than half a pixel's shift or JPEG noise would explain is measured
place by place, so that another print, label or colour on the same goods counts, however small its share of the area.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.catalogue.thumbnails import SIDE, Rows, colour_map, luma

Floats = NDArray[np.float32]

# Steps at 16 x 16 and then 32 x 32 pixels, from a start that is a few percent off, and from one that is nearly right.
FAR_STEPS, NEAR_STEPS = (8, 3), (1, 2)
DAMPING = 1e-3
# Scale and shift may move an edge by this share of the side at most from where the search found it.
MAX_MOVE = 0.06
# Levels that JPEG compression and resizing change, and the tolerated misalignment as a share of the local range.
LUMA_NOISE, CHROMA_NOISE, TOLERANCE = 4.0, 4.0, 0.5
# Luma differences are averaged over cells of this many pixels.
CELL = 4
# A cell differs if its mean excess is above this many levels of luma or chroma.
LUMA_DIFFERS, CHROMA_DIFFERS = 1.5, 2.5
# Pixels at the rim are not compared: a remaining sliver of a margin or the blur of a crop's edge is there.
RIM = 2


@dataclass(frozen=True)
class Differences:
    """What differs of each pair after alignment: the largest cell (1 = the limit), and the share of cells above it."""

    largest: Floats
    share: Floats


def differences(
    first: Rows, second: Rows, boxes: Floats, mirrored: NDArray[np.bool_], steps: tuple[int, int] = FAR_STEPS
) -> Differences:
    """Compare pairs of thumbnails (pairs, BYTES).

    `boxes` (pairs, 4) is the part of `first` that `second` shows, as left, right, top and bottom in shares of the side,
    after mirroring where `mirrored` (pairs,) is True.
    """
    own, other = luma(first), luma(second)
    colours, other_colours = (colour_map(rows)[:, 1:].astype(np.float32) for rows in (first, second))
    own[mirrored], colours[mirrored] = own[mirrored, :, ::-1], colours[mirrored, :, :, ::-1]
    boxes = align(own, other, boxes, steps)
    pixels = _excess(own, other, boxes, LUMA_NOISE)[:, RIM:-RIM, RIM:-RIM]
    cells = (SIDE - 2 * RIM) // CELL
    strips = np.ascontiguousarray(pixels).reshape(-1, cells, CELL, CELL * cells).sum(axis=2)
    parts = [strips.reshape(-1, cells, cells, CELL).sum(axis=3) / (CELL**2 * LUMA_DIFFERS)]
    parts += [
        _excess(colours[:, channel], other_colours[:, channel], boxes, CHROMA_NOISE)[:, 1:-1, 1:-1] / CHROMA_DIFFERS
        for channel in (0, 1)
    ]
    largest = np.max([part.max(axis=(1, 2)) for part in parts], axis=0)
    return Differences(largest, np.max([(part > 1).mean(axis=(1, 2)) for part in parts], axis=0))


def align(first: Floats, second: Floats, boxes: Floats, steps: tuple[int, int] = FAR_STEPS) -> Floats:
    """Return the boxes (pairs, 4) of `first` that show `second` best, both (pairs, 64, 64) luma."""
    start, boxes = boxes, boxes.copy()
    fine = halved(first), halved(second)
    coarse = halved(fine[0]), halved(fine[1])
    for (image, target), iterations in zip((coarse, fine), steps, strict=True):
        for _ in range(iterations):
            boxes = np.clip(boxes + _step(image, target, boxes), start - MAX_MOVE, start + MAX_MOVE).astype(np.float32)
    return boxes


def _step(image: Floats, target: Floats, boxes: Floats) -> Floats:
    """Return the step (pairs, 4) of each box towards the least squares difference of `image` from `target`."""
    side = image.shape[1]
    moved = resample(image, boxes, side)
    down, across = np.gradient(moved, np.float32(1 / side), axis=(1, 2))
    across /= (boxes[:, 1] - boxes[:, 0])[:, None, None]
    down /= (boxes[:, 3] - boxes[:, 2])[:, None, None]
    place = ((np.arange(side) + 0.5) / side).astype(np.float32)
    slopes = np.empty((len(moved), 4, side, side), dtype=np.float32)
    for edge, ramp in enumerate((1 - place, place)):
        np.multiply(across, ramp, out=slopes[:, edge])
        np.multiply(down, ramp[:, None], out=slopes[:, edge + 2])
    jacobian = slopes.reshape(len(moved), 4, -1)
    normal: Floats = jacobian @ jacobian.transpose(0, 2, 1)
    damping = DAMPING * np.trace(normal, axis1=1, axis2=2) + 1.0
    normal += damping[:, None, None] * np.eye(4, dtype=np.float32)
    error = (target - moved).reshape(len(moved), -1, 1)
    step = np.linalg.solve(normal, jacobian @ error)[:, :, 0]
    return np.asarray(step, dtype=np.float32)


def resample(images: Floats, boxes: Floats, size: int) -> Floats:
    """Return the boxes (pairs, 4) of images (pairs, side, side) at (pairs, size, size), by linear interpolation."""
    rows = _weights(boxes[:, 2], boxes[:, 3], size, images.shape[1])
    columns = _weights(boxes[:, 0], boxes[:, 1], size, images.shape[2])
    return np.asarray(rows @ images @ columns.transpose(0, 2, 1), dtype=np.float32)


def _weights(start: Floats, end: Floats, size: int, side: int) -> Floats:
    """Return interpolation weights (pairs, size, side); a place outside the image takes the nearest pixel."""
    share = ((np.arange(size) + 0.5) / size).astype(np.float32)
    place = (start[:, None] + (end - start)[:, None] * share) * side - 0.5
    place = np.clip(place, 0, side - 1)
    distance = np.abs(place[:, :, None] - np.arange(side, dtype=np.float32))
    weights: Floats = np.maximum(0, 1 - distance)
    return weights


def _excess(first: Floats, second: Floats, boxes: Floats, noise: float) -> Floats:
    """Return by how many levels pixels (pairs, side, side) differ beyond noise and a small misalignment.

    Places of `second` that `first` does not show have no difference.
    """
    side = second.shape[1]
    moved = resample(first, boxes, side)
    (low, high), (other_low, other_high) = neighbour_levels(moved), neighbour_levels(second)
    span = np.maximum(high - low, other_high - other_low)
    excess = np.maximum(0, np.abs(moved - second) - TOLERANCE * span - noise)
    rows, columns = _inside(boxes[:, 2], boxes[:, 3], side), _inside(boxes[:, 0], boxes[:, 1], side)
    inside: Floats = excess * rows[:, :, None] * columns[:, None, :]
    return inside


def _inside(start: Floats, end: Floats, size: int) -> NDArray[np.bool_]:
    share = (np.arange(size) + 0.5) / size
    place = start[:, None] + (end - start)[:, None] * share
    return (place > 0) & (place < 1)


def neighbour_levels(images: Floats) -> tuple[Floats, Floats]:
    """Return the lowest and the highest level among the 3 x 3 pixels around each pixel of (images, side, side)."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
    low = np.minimum(np.minimum(padded[:, :, :-2], padded[:, :, 1:-1]), padded[:, :, 2:])
    high = np.maximum(np.maximum(padded[:, :, :-2], padded[:, :, 1:-1]), padded[:, :, 2:])
    low = np.minimum(np.minimum(low[:, :-2], low[:, 1:-1]), low[:, 2:])
    high = np.maximum(np.maximum(high[:, :-2], high[:, 1:-1]), high[:, 2:])
    return low, high


def halved(images: Floats) -> Floats:
    """Return images (pairs, side, side) at half the side."""
    smaller: Floats = images[:, ::2, ::2] + images[:, 1::2, ::2] + images[:, ::2, 1::2] + images[:, 1::2, 1::2]
    smaller *= 0.25
    return smaller
