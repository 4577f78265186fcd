"""One photo of the raw data -> the bytes that a shard stores.

A file that is already small, upright, opaque, 8-bit and sRGB is stored unchanged, because a second JPEG encoding loses
quality. Any other file becomes a JPEG without chroma subsampling. With 4:2:0, an image of 96 px has only 48 px of
colour, less than a 64 px view needs. 4:4:4 halves the squared error, takes a fifth more bytes and is as fast.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline_lib.shards.resize import resize
from pipeline_lib.transforms.decode import Photo, Pixels, read_photo
from pipeline_lib.transforms.modes import LARGE
from pipeline_lib.transforms.png_strips import PngStrips

EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
# `decode` returns at least twice the requested size, so a reduced JPEG has at least 1.5 times the stored size.
REDUCED = 0.75
JPEG_LIMIT = 65_500  # largest width or height


@dataclass(frozen=True)
class StoredPhoto:
    """An encoded photo with its size in pixels."""

    data: bytes
    extension: str
    width: int
    height: int
    passed_through: bool


def store_photo(data: bytes, size: int, quality: int, convert_profile: bool = True) -> StoredPhoto:
    """Return a photo whose shorter side is at most `size` pixels; BadPhotoError if the bytes are no readable image.

    A profile that moves the colours is never stored: they are converted to sRGB, or taken as sRGB.
    """
    photo = read_photo(data, math.ceil(REDUCED * size), convert_profile=convert_profile)
    if photo.is_plain and photo.format in EXTENSIONS and min(photo.width, photo.height) <= size:
        return StoredPhoto(data, EXTENSIONS[photo.format], photo.width, photo.height, passed_through=True)
    shorter = min(photo.width, photo.height)
    if shorter <= size:
        return _encode(photo.pixels(), quality)
    width, height = max(size, round(photo.width * size / shorter)), max(size, round(photo.height * size / shorter))
    return _encode(_downscaled(photo, width, height), quality)


def store_pixels(pixels: Pixels, shown: tuple[int, int], size: int, quality: int) -> StoredPhoto:
    """Return pixels (rows, columns, 3) that are shown at a width and height as a photo of at most `size` pixels.

    The pixels of a clip may not be square: one resizing gives them their shape and their size.
    """
    width, height = shown
    shorter = min(width, height)
    if shorter > size:
        width, height = max(size, round(width * size / shorter)), max(size, round(height * size / shorter))
    if pixels.shape[:2] != (height, width):
        pixels = resize(pixels, width, height)
    return _encode(pixels, quality)


def black_photo(size: int, quality: int) -> StoredPhoto:
    """Return the photo of a product without one: `size` x `size` black pixels."""
    return _encode(np.zeros((size, size, 3), np.uint8), quality)


def _downscaled(photo: Photo, width: int, height: int) -> Pixels:
    """Return the photo's pixels at a smaller size; Pillow resizes a large image, because it makes no copies of it.

    A large PNG is resized strip by strip, with the same result.

    The pixels of a JPEG are already reduced. With them the result has 48 dB against Lanczos on all pixels, and JPEG
    quality 92 alone has 40 dB (synthetic photos of 640 x 480 stored at 128 px).
    """
    image = photo.raster
    if isinstance(image, PngStrips):
        return np.asarray(image.resized(width, height))
    if isinstance(image, Image.Image) and image.width * image.height > LARGE:
        return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    return resize(photo.pixels(), width, height)


def _encode(pixels: Pixels, quality: int) -> StoredPhoto:
    image = Image.fromarray(pixels)
    stream = io.BytesIO()
    kind = "JPEG" if max(image.size) <= JPEG_LIMIT else "PNG"
    image.save(stream, kind, quality=quality, subsampling="4:4:4")  # PNG ignores both options
    return StoredPhoto(stream.getvalue(), EXTENSIONS[kind], image.width, image.height, passed_through=False)
