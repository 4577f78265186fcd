"""Checks photos: each must be a complete image inside the data root with at most `max_pixels` pixels.

A worker process decodes each photo once, with the decoder of the shards, so that a truncated file is found here and not
during training, and makes the thumbnail for the search for near-duplicates. The module needs only Pillow,
simplejpeg and numpy, so workers start fast and use little memory.
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
from PIL import Image

from pipeline_lib.catalogue.media import open_photo
from pipeline_lib.catalogue.thumbnails import BYTES, WORK_SIDE, thumbnail
from pipeline_lib.transforms.decode import read_photo
from pipeline_lib.transforms.formats import BadPhotoError

HASH = partial(hashlib.blake2b, digest_size=16)
# A JPEG is decoded at its smallest scale with at least twice this side in pixels; all of the file is read nevertheless.
DECODED_SIDE = WORK_SIDE // 2
FILE_FAULTS = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EINVAL)


@dataclass(frozen=True)
class Fault:
    """The reason why a photo cannot be used, or is unusual, and the offending value."""

    reason: str
    value: str


@dataclass(frozen=True)
class Checked:
    """Results for a list of photos: fault or None, thumbnail, hash of the bytes, and note or None of each photo.

    `thumbnails` is uint8 (photos, BYTES). A photo with a fault has zeros and an empty hash. A note is about a photo
    that is used nevertheless.
    """

    faults: list[Fault | None]
    thumbnails: NDArray[np.uint8]
    contents: list[str]
    notes: list[Fault | None]


def check_photos(
    root: Path, max_pixels: int, paths: Sequence[str], linked: Sequence[Path] = (), convert_profile: bool = True
) -> Checked:
    """Check photos by their media names relative to `root`; links may also lead to `linked`, all resolved paths.

    `convert_profile` is that of the shards: photos that are equal there have equal thumbnails.
    """
    thumbnails = np.zeros((len(paths), BYTES), dtype=np.uint8)
    checked = Checked([], thumbnails, [], [])
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # `max_pixels` is compared before any decoding
    try:
        with warnings.catch_warnings(action="ignore"):  # decoders warn of unusual metadata, which does not matter here
            for position, path in enumerate(paths):
                fault, content, note = None, "", None
                try:
                    data = _read(root, path, linked)
                    photo, content = read_photo(data, DECODED_SIDE, max_pixels, convert_profile), HASH(data).hexdigest()
                    thumbnails[position] = thumbnail(photo.reduced(WORK_SIDE))
                    note = Fault(*photo.notes[0]) if photo.notes else None
                except BadPhotoError as bad:
                    fault = Fault(bad.reason, bad.value)
                checked.faults.append(fault)
                checked.contents.append(content)
                checked.notes.append(note)
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    return checked


def _read(root: Path, path: str, linked: Sequence[Path]) -> bytes:
    """Return the bytes of a photo; raises BadPhotoError."""
    try:
        with open_photo(root, path, linked) as stream:
            return stream.read()
    except OSError as error:
        raise fault_of(error) from error


def fault_of(error: OSError) -> BadPhotoError:
    """Return the fault of a file that cannot be opened; raises the error if it is a fault of the machine."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return BadPhotoError("missing image", "no such file")
    if error.errno is not None and error.errno not in FILE_FAULTS:
        raise error  # a fault of the machine (too many open files, a failing disk), not of the photo
    # The text of the error has the absolute path, which differs between machines.
    return BadPhotoError("unreadable image", error.strerror or type(error).__name__)
