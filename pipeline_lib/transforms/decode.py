"""The bytes of any image file -> an upright 8-bit RGB image.

Only this module handles EXIF, alpha, palettes and high bit depths, so a stored photo, a query photo and a test have the
same colours. Large JPEGs are decoded at a reduced scale, which is faster. Pillow reads every file that is not a plain
JPEG, and decides whether a damaged file is readable. Both decoders use libjpeg-turbo and give the same pixels.
"""

import io
import math
import struct

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

# Formats that are decoded in this process; other formats of Pillow (such as EPS) start programs or read other files.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
JPEG_START, SCAN = b"\xff\xd8\xff", b"\xff\xda"
PLAIN_COLOURS = ("YCbCr", "RGB", "Gray")
# A file without these bytes has no orientation; a false positive only uses the slower decoder.
MAY_BE_ROTATED = (b"Exif\0\0", b"tiff:Orientation")
ORIENTATION = 0x0112
TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, size: int | None = None) -> Image.Image:
    """Return an upright RGB image; with `size`, a JPEG may be reduced, but its shorter side stays at least 2 x size.

    Raises ValueError, one line without the file's name, if the bytes are not a readable image.
    """
    if (plain := _plain_jpeg(data, size)) is not None:
        return plain
    try:
        return to_rgb(open_image(data), size)
    except Exception as error:  # decoders raise many kinds of errors for a broken file
        raise ValueError(f"not a readable image ({one_line(error)})") from error


def open_image(data: bytes) -> Image.Image:
    """Open an image file without decoding its pixels."""
    return Image.open(io.BytesIO(data), formats=FORMATS)


def to_rgb(image: Image.Image, size: int | None = None) -> Image.Image:
    """Return an opened file as an upright 8-bit RGB image, with transparency over white."""
    if size is not None:
        image.draft(None, (2 * size, 2 * size))
    transpose = TRANSPOSES.get(orientation(image))
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    elif image.mode in ("I", "F"):
        image = _deep_to_8_bit(image)
    elif image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    if image.mode != "RGB":
        image = image.convert("RGB")
    image.load()
    return image if transpose is None else image.transpose(transpose)


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 (upright) if there is none or the EXIF block is broken."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except (SyntaxError, ValueError, TypeError, KeyError, struct.error):  # viewers show such photos without rotation
        return 1


def one_line(error: BaseException) -> str:
    """Return an error's message on one line, or its type if it has no message."""
    return " ".join(str(error).split()) or type(error).__name__


def plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of an upright JPEG with a plain colour space; None for any other file."""
    if not data.startswith(JPEG_START):
        return None
    head = _before_scan(data)
    if any(mark in head for mark in MAY_BE_ROTATED):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    plain = colours in PLAIN_COLOURS and height * width <= (Image.MAX_IMAGE_PIXELS or math.inf)
    return (width, height) if plain else None


def plain_jpeg_pixels(data: bytes, full_size: tuple[int, int], size: int | None) -> Pixels | None:
    """Return (height, width, 3) of a JPEG whose `plain_jpeg_size` is `full_size`; None if Pillow must read it."""
    width, height = full_size
    scale = next((k for k in (8, 4, 2) if size is not None and min(full_size) >= 2 * size * k), 1)
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(
            data, "RGB", min_height=-(-height // scale), min_width=-(-width // scale)
        )
    except ValueError:
        return None
    return pixels


def _plain_jpeg(data: bytes, size: int | None) -> Image.Image | None:
    """Return the result of `to_rgb` in less time, or None for a file that is not a plain JPEG."""
    full_size = plain_jpeg_size(data)
    pixels = None if full_size is None else plain_jpeg_pixels(data, full_size, size)
    if pixels is None:
        return None
    image = Image.new("RGB", (pixels.shape[1], pixels.shape[0]), None)  # Image.frombytes would fill it with black first
    image.frombytes(pixels)
    return image


def _before_scan(data: bytes) -> bytes:
    """Return a JPEG's segments before its first scan, which have all metadata; all bytes of a malformed file."""
    offset = 2
    while data[offset : offset + 1] == b"\xff":
        if data[offset : offset + 2] == SCAN:
            return data[:offset]
        offset += 2 + int.from_bytes(data[offset + 2 : offset + 4])
    return data


def _deep_to_8_bit(image: Image.Image) -> Image.Image:
    """Return 32-bit integers or floats as an 8-bit image; white is the smallest usual peak that is not exceeded."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float32))
    peaks = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    top = float(values.max())
    white = next((peak for peak in peaks if top <= peak), top)
    return Image.fromarray(np.clip(np.rint(values * (255 / white)), 0, 255).astype(np.uint8))
