"""One photo of the raw data -> the bytes a shard stores.

A file that is small, upright, opaque and 8-bit already is stored byte for byte, for a second JPEG generation only
loses. Everything else becomes a JPEG without chroma subsampling: at 96 px, 4:2:0 keeps 48 px of colour, less than a
64 px view asks for; 4:4:4 halves the squared error for a fifth more bytes, at the same speed.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline_lib.shards.shrink import shrink
from pipeline_lib.transforms.decode import (
    Pixels,
    decode,
    one_line,
    open_image,
    orientation,
    plain_jpeg_pixels,
    plain_jpeg_size,
)

EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
# `decode` keeps twice the size it is asked for; from 1.5 times the stored size the reduced JPEG shrinks as the whole.
REDUCED = 0.75
JPEG_LIMIT = 65_500  # pixels a side
PNG_BIT_DEPTH = 24  # byte of the header


@dataclass(frozen=True)
class StoredPhoto:
    """An encoded photo with its size in pixels."""

    data: bytes
    extension: str
    width: int
    height: int
    passed_through: bool


def store_photo(data: bytes, size: int, quality: int) -> StoredPhoto:
    """Return a photo whose shorter side is at most `size` pixels; ValueError if the bytes are no readable image."""
    reduced = math.ceil(REDUCED * size)
    plain = plain_jpeg_size(data)
    if plain is not None and min(plain) > size and (pixels := plain_jpeg_pixels(data, plain, reduced)) is not None:
        return _encode(_shrink(pixels, *plain, size), quality)
    try:
        image = open_image(data)
        kept = _may_pass(image, data, size)
        width, height = image.size if orientation(image) < 5 else image.size[::-1]
    except Exception as error:  # decoders raise whatever a broken file makes them raise
        raise ValueError(f"not a readable image ({one_line(error)})") from error
    rgb = decode(data, reduced)  # also one that passes: nothing unreadable enters a shard
    if kept:
        return StoredPhoto(data, EXTENSIONS[str(image.format)], width, height, passed_through=True)
    return _encode(_shrink(np.asarray(rgb), width, height, size), quality)


def black_photo(size: int, quality: int) -> StoredPhoto:
    """Return what stands for a product without a photo: `size` x `size` black pixels."""
    return _encode(np.zeros((size, size, 3), np.uint8), quality)


def _may_pass(image: Image.Image, data: bytes, size: int) -> bool:
    return (
        image.format in EXTENSIONS
        and min(image.size) <= size
        and image.mode in ("RGB", "L")
        and not image.has_transparency_data
        and orientation(image) not in range(2, 9)
        and (image.format != "PNG" or data[PNG_BIT_DEPTH] == 8)
        and not getattr(image, "is_animated", False)  # only formats that can move have it
    )


def _shrink(pixels: Pixels, width: int, height: int, size: int) -> Pixels:
    """Return the picture at the size that the whole file's `width` and `height` ask for; JPEGs come reduced.

    After the reduced decode 48 dB from Lanczos on all pixels, where quality 92 leaves 40 (drawn photos of 640 x 480
    stored at 128 px).
    """
    shorter = min(width, height)
    if shorter <= size:
        return pixels
    return shrink(pixels, max(size, round(width * size / shorter)), max(size, round(height * size / shorter)))


def _encode(pixels: Pixels, quality: int) -> StoredPhoto:
    image = Image.fromarray(pixels)
    stream = io.BytesIO()
    kind = "JPEG" if max(image.size) <= JPEG_LIMIT else "PNG"
    image.save(stream, kind, quality=quality, subsampling="4:4:4")  # PNG knows neither and ignores them
    return StoredPhoto(stream.getvalue(), EXTENSIONS[kind], image.width, image.height, passed_through=False)
