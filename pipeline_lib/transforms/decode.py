"""Any image file's bytes -> one upright 8-bit RGB picture.

The only place that knows of EXIF, alpha, palettes and deep pixels, so that a stored photo, a query photo and a test
see the same colours. Large JPEGs are decoded at a fraction of their scale, which is faster. Whatever is
no plain JPEG, or a broken one, is Pillow's to read and to judge; both call libjpeg-turbo and give the same pixels.
"""

import io
import math
import struct

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

# Decoders that work in this process on plain pixels; Pillow's others (EPS, say) start programs or read other files.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
JPEG_START, SCAN = b"\xff\xd8\xff", b"\xff\xda"
PLAIN_COLOURS = ("YCbCr", "RGB", "Gray")
# A file without these says nothing of being turned; a false alarm only costs the slower way.
MAY_BE_TURNED = (b"Exif\0\0", b"tiff:Orientation")
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, size: int | None = None) -> Image.Image:
    """Return an upright RGB picture; with `size`, a JPEG may come smaller, its shorter side at least 2 x size.

    Raises ValueError, one line without the file's name, if the bytes are no readable image.
    """
    if (plain := _plain_jpeg(data, size)) is not None:
        return plain
    try:
        return to_rgb(open_image(data), size)
    except Exception as error:  # decoders raise whatever a broken file makes them raise
        raise ValueError(f"not a readable image ({one_line(error)})") from error


def open_image(data: bytes) -> Image.Image:
    """Return an image file whose pixels are still to be decoded."""
    return Image.open(io.BytesIO(data), formats=FORMATS)


def to_rgb(image: Image.Image, size: int | None = None) -> Image.Image:
    """Return an opened file's pixels upright and as 8-bit RGB, transparency over white."""
    if size is not None:
        image.draft(None, (2 * size, 2 * size))
    turn = TURNS.get(orientation(image))
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
    return image if turn is None else image.transpose(turn)


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 (upright) where there is none or the EXIF block is broken."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except (SyntaxError, ValueError, TypeError, KeyError, struct.error):  # viewers show such photos unturned
        return 1


def one_line(error: BaseException) -> str:
    """Return an error's text on one line, or its kind if it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a JPEG that is upright and of plain colours; None for a file that needs more care."""
    if not data.startswith(JPEG_START):
        return None
    head = _before_scan(data)
    if any(mark in head for mark in MAY_BE_TURNED):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    plain = colours in PLAIN_COLOURS and height * width <= (Image.MAX_IMAGE_PIXELS or math.inf)
    return (width, height) if plain else None


def plain_jpeg_pixels(data: bytes, whole: tuple[int, int], size: int | None) -> Pixels | None:
    """Return (height, width, 3) of a JPEG whose `plain_jpeg_size` is `whole`; None for one that Pillow has to judge."""
    width, height = whole
    scale = next((k for k in (8, 4, 2) if size is not None and min(whole) >= 2 * size * k), 1)
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(
            data, "RGB", min_height=-(-height // scale), min_width=-(-width // scale)
        )
    except ValueError:
        return None
    return pixels


def _plain_jpeg(data: bytes, size: int | None) -> Image.Image | None:
    """Return what `to_rgb` would, sooner, or None for a file that needs its care."""
    whole = plain_jpeg_size(data)
    pixels = None if whole is None else plain_jpeg_pixels(data, whole, size)
    if pixels is None:
        return None
    image = Image.new("RGB", (pixels.shape[1], pixels.shape[0]), None)  # not black first, as Image.frombytes has it
    image.frombytes(pixels)
    return image


def _before_scan(data: bytes) -> bytes:
    """Return a JPEG's segments before its first scan, where all that is said of it stands; all of an odd file."""
    place = 2
    while data[place : place + 1] == b"\xff":
        if data[place : place + 2] == SCAN:
            return data[:place]
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return data


def _deep_to_8_bit(image: Image.Image) -> Image.Image:
    """Return an 8-bit picture of 32-bit integers or floats, whose white is the least usual peak that holds them."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float32))
    peaks = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    top = float(values.max())
    white = next((peak for peak in peaks if top <= peak), top)
    return Image.fromarray(np.clip(np.rint(values * (255 / white)), 0, 255).astype(np.uint8))
