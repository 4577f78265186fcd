"""Opens a photo by its media name: a file of the data root, or a line of a tsv file that contains photos as base64.

The media name of the second kind is `train_imgs.tsv#<offset>:<length>`, the byte range of the base64. A tsv of many GB
is therefore scanned once, never loaded or unpacked, and needs no separate index.
"""

import base64
import binascii
import io
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from pipeline_lib.artifacts.path_guard import RefusedPathError, real_path
from pipeline_lib.transforms.formats import BadPhotoError

SLICE = re.compile(r"(.+\.tsv)#(\d{1,18}):(\d{1,18})")
# Such files use the standard or the urlsafe alphabet of base64, which differ in these two characters.
TO_PLAIN = bytes.maketrans(b"-_", b"+/")

Stream = io.BufferedReader | io.BytesIO


def slice_name(tsv: str, offset: int, length: int) -> str:
    """Return the media name of a photo whose base64 has `length` bytes at `offset` of a tsv file.

    >>> slice_name("valid_imgs.tsv", 7, 1200)
    'valid_imgs.tsv#7:1200'
    """
    return f"{tsv}#{offset}:{length}"


def open_photo(root: Path, media: str, linked: Sequence[Path] = ()) -> Stream:
    """Return the encoded image of a media name as a binary stream; `root` must be a resolved path.

    Raises BadPhotoError if the path leaves the root, or a link leaves both the root and the resolved folders `linked`
    (such a file is never opened), if the file is empty or not a regular file, and if the slice is not base64. Raises
    OSError if there is no such file.
    """
    part = SLICE.fullmatch(media)
    file, size = locate_file(root, part[1] if part else media, linked)
    if part is None:
        return file.open("rb")
    return io.BytesIO(_decoded_slice(file, size, int(part[2]), int(part[3])))


def photo_bytes(root: Path, media: str, linked: Sequence[Path] = ()) -> bytes:
    """Return the encoded image of a media name; raises the same errors as `open_photo`."""
    with open_photo(root.resolve(), media, linked) as stream:
        return stream.read()


def locate_file(root: Path, path: str, linked: Sequence[Path]) -> tuple[Path, int]:
    """Return a file that is safe to open, and its size in bytes; raises as `open_photo`."""
    try:
        real = real_path(root, path, linked)
    except RefusedPathError as refused:
        raise BadPhotoError(str(refused), path) from None
    status = os.stat(real)  # noqa: PTH116 - realpath returns a str, and a Path for each of a million photos is slow
    if not stat.S_ISREG(status.st_mode):
        raise BadPhotoError("not a file", path)
    if status.st_size == 0:
        raise BadPhotoError("empty file", "0 bytes")
    return Path(real), status.st_size


def _decoded_slice(file: Path, size: int, offset: int, length: int) -> bytes:
    if length == 0:
        raise BadPhotoError("empty image", "0 bytes")
    if offset + length > size:
        raise BadPhotoError("outside its file", f"bytes {offset} to {offset + length} of {size}; run `dvc repro`")
    with file.open("rb") as stream:
        stream.seek(offset)
        text = stream.read(length)
    try:
        # Urlsafe base64 is often written without padding.
        return base64.b64decode(
            text.translate(TO_PLAIN).rstrip(b"=") + b"=" * (-len(text.rstrip(b"=")) % 4), validate=True
        )
    except binascii.Error as error:
        raise BadPhotoError("not base64", str(error)) from None
