"""A photo as a thumbnail of its content: small enough to store for each photo of a catalogue, and to compare pairs.

The uniform border is removed first, so that the same goods on white with another margin or position give the same
thumbnail. A thumbnail is one row of bytes: 64 x 64 luma, a map of 16 x 16 luma and chroma, the content's aspect ratio,
and whether it had a border on all sides. The module needs only PIL and numpy, so that worker processes start fast.
"""

import math
import tempfile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE, MAP = 64, 16
NUM_LUMA = SIDE * SIDE
BYTES = NUM_LUMA + 3 * MAP * MAP + 2
# The content is found on a picture with at least this shorter side in pixels, where the photo has it.
WORK_SIDE = 128
# A row or column is border if at most this share of its pixels differ from the border's colour by more than these
# levels: JPEG artefacts of the goods spread into the border.
BORDER_LEVELS, BORDER_SHARE = 24, 0.02
# Less content than this share of the area is no product on a background but a speck or a line.
MIN_CONTENT = 0.1
# A photo with a margin around a uniform background has two borders.
MAX_BORDERS = 3
ASPECT_STEPS = 32

Rows = NDArray[np.uint8]


def thumbnail(image: Image.Image) -> Rows:
    """Return the thumbnail (BYTES,) uint8 of an upright RGB image."""
    factor = min(image.size) // WORK_SIDE
    small = image.reduce(factor) if factor > 1 else image
    box = content_box(np.asarray(small))
    content = small.crop(box).convert("YCbCr")
    luma = np.asarray(content.getchannel(0).resize((SIDE, SIDE), Image.Resampling.HAMMING))
    colours = np.asarray(content.resize((MAP, MAP), Image.Resampling.HAMMING))
    aspect = 128 + round(ASPECT_STEPS * math.log2((box[2] - box[0]) / (box[3] - box[1])))
    bordered = box[0] > 0 and box[1] > 0 and box[2] < small.width and box[3] < small.height
    parts = (luma.ravel(), colours.transpose(2, 0, 1).ravel(), [min(255, max(0, aspect)), bordered])
    return np.concatenate(parts).astype(np.uint8)


def content_box(pixels: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the content of (height, width, 3): what remains without uniform borders."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = 0, 0, width, height
    for _ in range(MAX_BORDERS):
        part = pixels[top:bottom, left:right].astype(np.int16)
        edge = np.concatenate([part[0], part[-1], part[:, 0], part[:, -1]])
        colour = np.median(edge, axis=0).astype(np.int16)
        far = np.abs(part - colour) > BORDER_LEVELS
        differs = far[:, :, 0] | far[:, :, 1] | far[:, :, 2]
        rows = np.flatnonzero(np.count_nonzero(differs, axis=1) > BORDER_SHARE * differs.shape[1])
        columns = np.flatnonzero(np.count_nonzero(differs, axis=0) > BORDER_SHARE * differs.shape[0])
        if len(rows) == 0 or len(columns) == 0:
            break
        inner = (left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1)
        if inner == (left, top, right, bottom) or area(inner) < MIN_CONTENT * width * height:
            break
        left, top, right, bottom = (int(side) for side in inner)
    return left, top, right, bottom


def area(box: tuple[int, int, int, int]) -> int:
    """Return the area of left, top, right, bottom."""
    return (box[2] - box[0]) * (box[3] - box[1])


def luma(rows: Rows) -> NDArray[np.float32]:
    """Return (photos, 64, 64) luma of thumbnails (photos, BYTES)."""
    return rows[:, :NUM_LUMA].reshape(-1, SIDE, SIDE).astype(np.float32)


def colour_map(rows: Rows) -> Rows:
    """Return (photos, 3, 16, 16) luma, Cb and Cr of thumbnails (photos, BYTES)."""
    return map_bytes(rows).reshape(-1, 3, MAP, MAP)


def map_bytes(rows: Rows) -> Rows:
    """Return the maps (photos, 768) of thumbnails (photos, BYTES), without a copy."""
    return rows[:, NUM_LUMA:-2]


def log_aspect(rows: Rows) -> NDArray[np.float32]:
    """Return log2(width / height) of the content of thumbnails (photos, BYTES)."""
    return (rows[:, -2].astype(np.float32) - np.float32(128)) / np.float32(ASPECT_STEPS)


def bordered(rows: Rows) -> NDArray[np.bool_]:
    """Return whether the content of thumbnails (photos, BYTES) had a border on all four sides."""
    return rows[:, -1] > 0


def scratch_rows(count: int) -> Rows:
    """Return (count, BYTES) zeros in an unnamed file of the folder for temporary files, mapped into memory."""
    if count == 0:
        return np.zeros((0, BYTES), dtype=np.uint8)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.uint8, "w+", shape=(count, BYTES))
