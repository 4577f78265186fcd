"""Files that are complete photos although Pillow refuses them: what to drop or add so that it reads them.

PNG: text that is too long, ancillary chunks with a wrong checksum or content; libpng, and so every viewer, passes over
them. JPEG: a missing end mark, if all pixels are there; a broken metadata segment. A file that lacks pixels is not
repaired.
"""

import re
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import simplejpeg

PNG_START, JPEG_START, END_OF_IMAGE = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xd9"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
ANCILLARY = 0x20  # bit of the first letter of a chunk that decoders may pass over
START_OF_SCAN = 0xDA
# Frames of one scan for each component at most, in one pass; progressive frames refine every coefficient.
SEQUENTIAL, PROGRESSIVE = (0xC0, 0xC1), (0xC2,)
APPLICATION = range(0xE1, 0xEE)  # APP1 to APP13: EXIF, XMP, profiles, Photoshop; APP0 and APP14 say how to decode
NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
NUM_COEFFICIENTS = 64
INKS = ("CMYK", "YCCK")
NO_END_MARK = ("no end mark", "JPEG without its last two bytes, all pixels are there")


class Repair(NamedTuple):
    """Other bytes for the same photo, and what was wrong."""

    data: bytes
    reason: str
    value: str


class Segment(NamedTuple):
    """A marker of a JPEG, its parameters, and its range of bytes; entropy-coded data belong to no segment."""

    marker: int
    content: bytes
    start: int
    end: int


def repairs(data: bytes) -> Iterator[Repair]:
    """Yield what to try in place of a file that Pillow refuses, the smallest change first."""
    if data.startswith(PNG_START):
        for texts, only_alpha in ((TEXTS, False), (TEXTS, True)):
            repaired, dropped = _without_chunks(data, texts, only_alpha)
            if dropped:
                yield Repair(repaired, "broken metadata", "passed over PNG chunks: " + ", ".join(dropped))
    elif data.startswith(JPEG_START):
        if lacks_only_end_mark(data):
            yield Repair(data + END_OF_IMAGE, *NO_END_MARK)
        shorter = _without_metadata(data)
        if shorter != data:
            yield Repair(shorter, "broken metadata", "passed over EXIF, XMP and profile of the JPEG")


def has_end_mark(data: bytes) -> bool:
    """Return whether a JPEG has an end mark after its last scan."""
    return data.endswith(END_OF_IMAGE) or data.rfind(END_OF_IMAGE) > data.rfind(bytes([0xFF, START_OF_SCAN]))


def lacks_only_end_mark(data: bytes) -> bool:
    """Return whether a JPEG has all pixels but no end mark: all scans are there and none ends early."""
    found = list(segments(data))
    if has_end_mark(data) or not _all_scans(found):
        return False
    complete = data + END_OF_IMAGE
    try:
        _, _, colours, _ = simplejpeg.decode_jpeg_header(complete)
        simplejpeg.decode_jpeg(complete, "CMYK" if colours in INKS else "RGB", strict=True)
    except ValueError:
        return False
    return True


def segments(data: bytes) -> Iterator[Segment]:
    """Yield the segments of a JPEG up to its end mark, to the end of the data, or to the first malformed segment."""
    offset = 2
    while (found := NEXT_MARKER.search(data, offset)) is not None:
        marker, start = data[found.start() + 1], found.start()
        length = 0 if marker == END_OF_IMAGE[1] else int.from_bytes(data[start + 2 : start + 4])
        end = start + 2 + length
        if end > len(data):
            return
        yield Segment(marker, data[start + 4 : end], start, end)
        if marker == END_OF_IMAGE[1]:
            return
        offset = end


def _all_scans(found: list[Segment]) -> bool:
    """Return whether the scans hold every bit of every coefficient of every component of the frame."""
    frame = next((each for each in found if each.marker in (*SEQUENTIAL, *PROGRESSIVE)), None)
    if frame is None or len(frame.content) < 6:
        return False
    components = set(frame.content[6 : 6 + 3 * frame.content[5] : 3])
    exact: set[tuple[int, int]] = set()  # (component, coefficient) whose last bit is in a scan
    for scan in found:
        if scan.marker != START_OF_SCAN or not scan.content:
            continue
        count = scan.content[0]
        named = scan.content[1 : 1 + 2 * count : 2]
        first, last, bits = scan.content[1 + 2 * count : 4 + 2 * count]
        if frame.marker in SEQUENTIAL:
            first, last, bits = 0, NUM_COEFFICIENTS - 1, 0
        if bits & 15 == 0:
            exact |= {(component, k) for component in named for k in range(first, last + 1)}
    return bool(components) and len(exact) == len(components) * NUM_COEFFICIENTS


def _without_chunks(data: bytes, texts: tuple[bytes, ...], only_alpha: bool) -> tuple[bytes, list[str]]:
    """Return a PNG without texts and ancillary chunks of a wrong checksum, and the names of what was dropped.

    With `only_alpha` the only ancillary chunk that remains is the transparent colour.
    """
    parts, dropped, offset = [PNG_START], [], len(PNG_START)
    while offset + 12 <= len(data):
        end = offset + 12 + int.from_bytes(data[offset : offset + 4])
        kind, chunk = data[offset + 4 : offset + 8], data[offset:end]
        if end > len(data):
            break  # truncated: Pillow has to refuse it
        wrong = zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:])
        if kind[0] & ANCILLARY and (kind in texts or wrong or (only_alpha and kind != b"tRNS")):
            dropped.append(kind.decode("latin1"))
        else:
            parts.append(chunk)
        offset = end
    return b"".join([*parts, data[offset:]]), list(dict.fromkeys(dropped))


def _without_metadata(data: bytes) -> bytes:
    """Return a JPEG without its application segments before the first scan; APP0 and APP14 remain."""
    parts, offset = [], 0
    for segment in segments(data):
        if segment.marker == START_OF_SCAN:
            break
        if segment.marker in APPLICATION:
            parts.append(data[offset : segment.start])
            offset = segment.end
    return b"".join([*parts, data[offset:]])
