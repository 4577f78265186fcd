"""The bytes of any image file -> an upright 8-bit sRGB image, for checks, hashes, shards, report and search alike.

Only this package handles orientation, alpha, palettes, bit depths and colour profiles, so a photo has the same pixels
everywhere. Large JPEGs are decoded at a reduced scale, which is faster. Pillow reads every file that is not a plain
JPEG, and decides whether a damaged file is readable. Both decoders use libjpeg-turbo and give the same pixels.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from pipeline_lib.artifacts.messages import fault_of
from pipeline_lib.transforms.formats import BadPhotoError, open_image
from pipeline_lib.transforms.modes import LARGE, profile_mode, to_srgb
from pipeline_lib.transforms.png_strips import PngStrips, png_strips, why_too_large
from pipeline_lib.transforms.profiles import conversion
from pipeline_lib.transforms.repair import JPEG_START, NO_END_MARK, START_OF_SCAN, has_end_mark, repairs, segments

Pixels = NDArray[np.uint8]

MARKER, APP2 = 0xFF, 0xE2
SHORTEST_JPEG = 100  # bytes; tables and one block need more
PLAIN_COLOURS = ("YCbCr", "RGB", "Gray")
# A file without these bytes has no orientation; a false positive only uses the slower decoder.
MAY_BE_ROTATED = (b"Exif\0\0", b"tiff:Orientation")
PROFILE_START = b"ICC_PROFILE\0"
PROFILE_HEADER = len(PROFILE_START) + 2  # and the number of this part and of all parts
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
PNG_BIT_DEPTH = 24  # position of the bit depth in the header
TOO_MANY_PIXELS, TOO_LARGE = "too many pixels", "PNG that must be decoded as a whole is too large"
FINAL = (TOO_MANY_PIXELS, TOO_LARGE)  # no repair helps
NOT_USED = "colour profile not used"


class Note(NamedTuple):
    """Something unusual in a photo that was read nevertheless."""

    reason: str
    value: str


@dataclass(frozen=True)
class Photo:
    """A decoded photo; `width` and `height` are those of the file, upright, and the pixels may be reduced.

    `is_plain`: any program that reads the file gets these pixels, so the file may be stored as it is.
    """

    raster: Image.Image | Pixels | PngStrips
    format: str
    width: int
    height: int
    is_plain: bool
    notes: tuple[Note, ...] = ()

    def image(self) -> Image.Image:
        """Return the upright RGB image."""
        if isinstance(self.raster, Image.Image):
            return self.raster
        if isinstance(self.raster, PngStrips):
            return self.raster.image()
        height, width, _ = self.raster.shape
        image = Image.new("RGB", (width, height), None)  # Image.frombytes would fill it with black first
        image.frombytes(self.raster)
        return image

    def pixels(self) -> Pixels:
        """Return the pixels (height, width, 3)."""
        return np.asarray(self.image() if isinstance(self.raster, PngStrips) else self.raster)

    def reduced(self, side: int) -> Image.Image:
        """Return the image reduced by a whole factor, such that its shorter side has at least `side` pixels."""
        image = self.raster if isinstance(self.raster, PngStrips) else self.image()
        factor = min(image.width, image.height) // side
        if factor > 1:
            return image.reduced(factor) if isinstance(image, PngStrips) else image.reduce(factor)
        return self.image()


def decode(data: bytes, size: int | None = None) -> Image.Image:
    """Return an upright sRGB image; with `size`, a JPEG may be reduced, but its shorter side stays at least 2 x size.

    Raises BadPhotoError (a ValueError), one line without the file's name, if the bytes are not a readable image.
    """
    return read_photo(data, size).image()


def read_photo(
    data: bytes, size: int | None = None, max_pixels: float = math.inf, convert_profile: bool = True
) -> Photo:
    """Return a photo, reduced as by `decode`; without `convert_profile` the colours of a profile are taken as sRGB.

    Raises BadPhotoError if the bytes are not a readable image or if it has more than `max_pixels` pixels.
    """
    full_size = _plain_jpeg_size(data)
    if full_size is not None:
        _check_size(*full_size, max_pixels)
        pixels = _plain_jpeg_pixels(data, full_size, size)
        if pixels is not None:
            return Photo(pixels, "JPEG", *full_size, is_plain=True)
    try:
        photo = _read_with_pillow(data, size, max_pixels, convert_profile)
        # Pillow itself reads some JPEGs without an end mark.
        return photo if photo.format != "JPEG" or has_end_mark(data) else _noted(photo, Note(*NO_END_MARK))
    except BadPhotoError as error:
        if error.reason in FINAL:
            raise
        failure = error
    for repair in repairs(data):
        try:
            photo = _read_with_pillow(repair.data, size, max_pixels, convert_profile)
        except BadPhotoError as error:
            if error.reason in FINAL:
                raise
            continue
        return _noted(photo, Note(repair.reason, repair.value))
    raise failure


def orientation(image: Image.Image) -> int:
    """Return how a loaded image must be turned, as EXIF says it, 1 to 8; 1 (upright) for a broken EXIF block.

    Pillow turns a TIFF while it loads the pixels; with the tag that it removes then, a TIFF would be turned twice.
    """
    if image.format == "TIFF":
        return 1
    try:
        value = int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a broken block raises many kinds of errors; viewers show such photos without rotation
        return 1
    return value if value in TRANSPOSES else 1


def _read_with_pillow(data: bytes, size: int | None, max_pixels: float, convert_profile: bool) -> Photo:
    try:
        image = open_image(data)
        _check_size(*image.size, max_pixels)
        if image.format == "PNG" and image.width * image.height > LARGE:
            strips = png_strips(data, convert_profile)
            if strips is not None:
                return _in_strips(strips, data)
            if fault := why_too_large(data):
                raise BadPhotoError(TOO_LARGE, fault)
        width, height = image.size
        reduced = size is not None and image.draft(None, (2 * size, 2 * size)) is not None
        image.load()
        if not reduced:
            width, height = image.size  # an icon may have another size than its header says
        turned = orientation(image)
        is_plain = turned == 1 and _is_plain(image, data)
        rgb, problem = to_srgb(image, convert_profile)
    except (BadPhotoError, MemoryError):
        raise
    except Exception as error:  # decoders raise many kinds of errors for a broken file
        reason = "truncated image" if "truncated" in str(error).lower() else "unreadable image"
        kind = "" if isinstance(error, OSError) else f"{type(error).__name__}: "
        raise BadPhotoError(reason, kind + fault_of(error)) from error
    if turned in TRANSPOSES:
        rgb = rgb.transpose(TRANSPOSES[turned])
    if turned >= 5:
        width, height = height, width
    notes = (Note(NOT_USED, problem),) if problem else ()
    return Photo(rgb, str(image.format), width, height, is_plain, notes)


def _in_strips(strips: PngStrips, data: bytes) -> Photo:
    """Return a large PNG, which is decoded when its pixels are asked for; one that is not sound is none of these."""
    first = next(strips.loaded())
    _, problem = to_srgb(first, strips.convert)
    notes = (Note(NOT_USED, problem),) if problem else ()
    return Photo(strips, "PNG", strips.width, strips.height, _is_plain(first, data), notes)


def _noted(photo: Photo, note: Note) -> Photo:
    return replace(photo, is_plain=False, notes=(note, *photo.notes))


def _is_plain(image: Image.Image, data: bytes) -> bool:
    """Return whether an upright image has 8-bit opaque pixels of one frame, and no profile that moves its colours."""
    profile = image.info.get("icc_profile")
    return (
        image.mode in ("RGB", "L")
        and not image.has_transparency_data
        and (image.format != "PNG" or data[PNG_BIT_DEPTH] == 8)
        and not getattr(image, "is_animated", False)  # only formats with animation have this attribute
        and not (profile and conversion(profile, profile_mode(image)).transform)
    )


def _check_size(width: int, height: int, max_pixels: float) -> None:
    if width * height > max_pixels:
        raise BadPhotoError(TOO_MANY_PIXELS, f"{width} x {height}")


def _plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of an upright JPEG in sRGB with a plain colour space; None for any other file."""
    if not data.startswith(JPEG_START) or len(data) < SHORTEST_JPEG:
        return None
    profile = _profile_before_scan(data)
    if profile is None:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    if colours not in PLAIN_COLOURS or height * width > (Image.MAX_IMAGE_PIXELS or math.inf):
        return None
    used = conversion(profile, "L" if colours == "Gray" else "RGB") if profile else None
    return None if used and (used.transform or used.problem) else (width, height)


def _profile_before_scan(data: bytes) -> bytes | None:
    """Return the colour profile of a JPEG, empty if it has none; None if it may be rotated, or is malformed."""
    offset = 2
    while data[offset] == MARKER and data[offset + 1] != START_OF_SCAN:
        offset += 2 + int.from_bytes(data[offset + 2 : offset + 4])
        if offset + 1 >= len(data):
            return None
    head = data[:offset]
    if data[offset] != MARKER or any(mark in head for mark in MAY_BE_ROTATED):
        return None
    if PROFILE_START not in head:
        return b""
    parts = [part.content for part in segments(head) if part.marker == APP2 and part.content.startswith(PROFILE_START)]
    numbered = sorted(parts, key=lambda part: part[len(PROFILE_START)])
    return b"".join(part[PROFILE_HEADER:] for part in numbered)


def _plain_jpeg_pixels(data: bytes, full_size: tuple[int, int], size: int | None) -> Pixels | None:
    """Return (height, width, 3) of a JPEG whose `_plain_jpeg_size` is `full_size`; None if Pillow must read it."""
    width, height = full_size
    scale = next((k for k in (8, 4, 2) if size is not None and min(full_size) >= 2 * size * k), 1)
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(
            data, "RGB", min_height=-(-height // scale), min_width=-(-width // scale)
        )
    except ValueError:
        return None
    return pixels
