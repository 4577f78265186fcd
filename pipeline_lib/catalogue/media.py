"""Where the bytes of a photo lie: in a file of the data root, or in one line of a tsv that holds photos as base64.

A photo of the second kind is named `train_imgs.tsv#<offset>:<length>`, the place of its base64 in bytes. The name alone
finds it, so a tsv of many GB is scanned once, never loaded or unpacked, and needs no index that could be another's.
"""

import base64
import binascii
import io
import os
import re
import stat
from pathlib import Path

UNSAFE = r"(^|[/\\])\.\.([/\\]|$)|^[/\\]|^[A-Za-z]:[/\\]|[\x00-\x1f]"
SLICE = re.compile(r"(.+\.tsv)#(\d{1,18}):(\d{1,18})")
# Both alphabets of base64 occur in such files; the two characters that differ have one meaning each.
TO_PLAIN = bytes.maketrans(b"-_", b"+/")

Stream = io.BufferedReader | io.BytesIO


class BadPhotoError(ValueError):
    """A photo that cannot be used: the reason, and the value that shows it."""

    def __init__(self, reason: str, value: str) -> None:
        super().__init__(f"{reason}: {value}")
        self.reason = reason
        self.value = value


def slice_name(tsv: str, offset: int, length: int) -> str:
    """Return the media name of the photo whose base64 is `length` bytes at `offset` of a tsv.

    >>> slice_name("valid_imgs.tsv", 7, 1200)
    'valid_imgs.tsv#7:1200'
    """
    return f"{tsv}#{offset}:{length}"


def open_photo(root: Path, media: str) -> Stream:
    """Return the encoded image behind a media name as a binary stream; `root` must be a resolved path.

    Raises BadPhotoError for a name that leaves the root, by its words or by a link (such a file is never opened), and
    for what is no file, empty or no base64; OSError where there is no such file.
    """
    place = SLICE.fullmatch(media)
    file, size = _locate(root, place[1] if place else media)
    if place is None:
        return file.open("rb")
    return io.BytesIO(_decoded_slice(file, size, int(place[2]), int(place[3])))


def photo_bytes(root: Path, media: str) -> bytes:
    """Return the encoded image behind a media name; errors as those of `open_photo`."""
    with open_photo(root.resolve(), media) as stream:
        return stream.read()


def _locate(root: Path, path: str) -> tuple[Path, int]:
    """Return a file that is safe to open, and its size in bytes."""
    if re.search(UNSAFE, path):
        raise BadPhotoError("unsafe path", path)
    real = os.path.realpath(root / path)
    if os.path.commonpath([root, real]) != str(root):
        raise BadPhotoError("link leaves the data root", path)
    found = os.stat(real)  # noqa: PTH116 - realpath gives a str, and a Path for each of a million photos costs
    if not stat.S_ISREG(found.st_mode):
        raise BadPhotoError("not a file", path)
    if found.st_size == 0:
        raise BadPhotoError("empty file", "0 bytes")
    return Path(real), found.st_size


def _decoded_slice(file: Path, size: int, offset: int, length: int) -> bytes:
    if length == 0:
        raise BadPhotoError("empty image", "0 bytes")
    if offset + length > size:
        raise BadPhotoError("outside its file", f"bytes {offset} to {offset + length} of {size}; run `dvc repro`")
    with file.open("rb") as stream:
        stream.seek(offset)
        text = stream.read(length)
    try:
        # Writers of the urlsafe alphabet often leave the padding out.
        return base64.b64decode(
            text.translate(TO_PLAIN).rstrip(b"=") + b"=" * (-len(text.rstrip(b"=")) % 4), validate=True
        )
    except binascii.Error as error:
        raise BadPhotoError("not base64", str(error)) from None
