"""Checks photos: each must be a complete image inside the data root with at most `max_pixels` pixels.

A worker process decodes each photo once, so that a truncated file is found here and not during training, and resizes it
to the small grid for the search for near-duplicates. The module needs only PIL and numpy, so workers start fast and use
little memory.
"""

import errno
import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline_lib.catalogue.media import BadPhotoError, Stream, open_photo

GRID = 9
HASH = partial(hashlib.blake2b, digest_size=16)
# Formats that PIL decodes in this process. Others (EPS, say) start programs or read other files.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
# A JPEG is decoded at its smallest scale with at least this side in pixels; the complete file is read nevertheless.
DRAFT_SIDE = 64
FILE_FAULTS = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EINVAL)


@dataclass(frozen=True)
class Fault:
    """The reason why a photo cannot be used, and the offending value."""

    reason: str
    value: str


@dataclass(frozen=True)
class Checked:
    """Results for a list of photos: a fault or None, the grid, and the hash of the bytes of each photo.

    `grids` is uint8 (photos, 9, 9, 3). A photo with a fault has a zero grid and an empty hash.
    """

    faults: list[Fault | None]
    grids: NDArray[np.uint8]
    contents: list[str]


def check_photos(root: Path, max_pixels: int, paths: Sequence[str]) -> Checked:
    """Check photos by their media names relative to `root`, which must be a resolved path."""
    grids = np.zeros((len(paths), GRID, GRID, 3), dtype=np.uint8)
    faults: list[Fault | None] = []
    contents: list[str] = []
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # `max_pixels` is compared before any decoding
    try:
        with warnings.catch_warnings(action="ignore"):  # decoders warn of unusual metadata, which does not matter here
            for position, path in enumerate(paths):
                try:
                    grids[position], content = _check_photo(root, path, max_pixels)
                    contents.append(content)
                    faults.append(None)
                except BadPhotoError as bad:
                    grids[position] = 0
                    contents.append("")
                    faults.append(Fault(bad.reason, bad.value))
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    return Checked(faults, grids, contents)


def _check_photo(root: Path, path: str, max_pixels: int) -> tuple[NDArray[np.uint8], str]:
    """Return the grid of a photo and the hash of its bytes; raises BadPhotoError."""
    try:
        with open_photo(root, path) as stream:
            grid = _grid(stream, max_pixels)
            stream.seek(0)
            return grid, hashlib.file_digest(stream, HASH).hexdigest()
    except OSError as error:
        raise _fault_of(error) from error


def _grid(stream: Stream, max_pixels: int) -> NDArray[np.uint8]:
    """Decode a photo completely and return its mean colours (9, 9, 3), upright and on a white background."""
    try:
        with Image.open(stream, formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise BadPhotoError("too many pixels", f"{width} x {height}")
            image.draft("RGB", (DRAFT_SIDE, DRAFT_SIDE))
            image.load()
            upright = ImageOps.exif_transpose(image)
            return np.asarray(_opaque(upright).resize((GRID, GRID), Image.Resampling.HAMMING))
    except (BadPhotoError, MemoryError):
        raise
    except UnidentifiedImageError:
        stream.seek(0)
        raise BadPhotoError("not an image", repr(stream.read(16))) from None
    except OSError:
        raise
    except Exception as error:  # on damaged bytes decoders raise any type of error
        raise BadPhotoError("unreadable image", f"{type(error).__name__}: {error}") from error


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _fault_of(error: OSError) -> BadPhotoError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return BadPhotoError("missing image", "no such file")
    if error.errno is not None and error.errno not in FILE_FAULTS:
        raise error  # a fault of the machine (too many open files, a failing disk), not of the photo
    reason = "truncated image" if "truncated" in str(error).lower() else "unreadable image"
    return BadPhotoError(reason, str(error))
