"""How many bytes of a clip are missing, by the lengths that its container declares.

FFmpeg ends a truncated mkv, webm, avi or gif without an error, and the index of a truncated mp4 names frames that are
not there. A live recording declares no length, and a transport stream has none.
"""

import io
import os
from pathlib import Path
from typing import BinaryIO

EBML, SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"
GIF_EXTENSION, GIF_IMAGE, GIF_END = 0x21, 0x2C, 0x3B
PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"


def missing_bytes(file: Path) -> int:
    """Return how many bytes more than there are the container of a file needs; 0 if it declares no length."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(12)
        stream.seek(0)
        if start[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"):
            end = _iso_end(stream, size)
        elif start.startswith(EBML):
            end = _matroska_end(stream)
        elif start.startswith(b"RIFF"):
            end = _riff_end(stream, size)
        elif start.startswith(b"GIF8"):
            end = _gif_end(stream, size)
        elif start.startswith(PNG_START):
            end = _png_end(stream, size)
        else:
            end = 0
    return max(0, end - size)


def _iso_end(stream: BinaryIO, size: int) -> int:
    """Follow the boxes of ISO media; a box of length 0 reaches to the end of the file."""
    at = 0
    while at + 8 <= size:
        stream.seek(at)
        header = stream.read(16)
        length = int.from_bytes(header[:4])
        if length == 1:
            length = int.from_bytes(header[8:16])
        if length < 8:
            return at
        at += length
    return at


def _matroska_end(stream: BinaryIO) -> int:
    stream.seek(len(EBML))
    header = _variable_length(stream)
    if header is None:
        return 0
    stream.seek(header, os.SEEK_CUR)
    if stream.read(len(SEGMENT)) != SEGMENT:
        return 0
    length = _variable_length(stream)
    return 0 if length is None else stream.tell() + length


def _variable_length(stream: BinaryIO) -> int | None:
    """Read a length of EBML; None if it is declared as unknown."""
    first = stream.read(1)
    if not first or first[0] == 0:
        return None
    extra = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0x7F >> extra)]) + stream.read(extra))
    return None if value == (1 << (7 * (extra + 1))) - 1 else value


def _riff_end(stream: BinaryIO, size: int) -> int:
    """Follow the RIFF chunks; an AVI above 1 GB has several, and a recorder that crashed leaves a length of 0."""
    at = 0
    while at + 8 <= size:
        stream.seek(at)
        header = stream.read(8)
        length = int.from_bytes(header[4:], "little")
        if header[:4] != b"RIFF" or length in (0, 0xFFFFFFFF):
            return at
        at += 8 + length + length % 2
    return at - 1 if at == size + 1 else at  # the last byte of padding is often left out


def _gif_end(stream: BinaryIO, size: int) -> int:
    """Follow the blocks of a GIF; the end mark may be missing, but no block may be cut."""
    stream.seek(10)
    flags = stream.read(1)
    at = 13 + _gif_colours(flags[0] if flags else 0)
    while at < size:
        stream.seek(at)
        mark = stream.read(1)[0]
        if mark == GIF_EXTENSION:
            at += 2
        elif mark == GIF_IMAGE:
            header = stream.read(9).ljust(9, b"\0")
            at += 11 + _gif_colours(header[8])
        else:
            return at
        at = _gif_blocks_end(stream, at, size)
    return at


def _gif_colours(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _gif_blocks_end(stream: BinaryIO, at: int, size: int) -> int:
    while at < size:
        stream.seek(at)
        length = stream.read(1)[0]
        at += 1 + length
        if length == 0:
            return at
    return at + 1  # the block that ends the list is missing


def _png_end(stream: io.BufferedIOBase | BinaryIO, size: int) -> int:
    at = len(PNG_START)
    while at < size:
        stream.seek(at)
        header = stream.read(8).ljust(8, b"\0")
        at += 12 + int.from_bytes(header[:4])
        if header[4:] == PNG_END:
            return at
    return at + 1 if at == size else at
