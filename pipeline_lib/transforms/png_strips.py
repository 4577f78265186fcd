"""A large PNG decoded in strips of rows, so that its pixels are never in memory together.

Pillow decodes files as a whole. So the compressed stream is inflated piece by piece, and a strip of rows becomes a
small PNG of its own, which is not compressed and which Pillow decodes. Its filters refer to the row above, so its first
row is the last of the strip before. The pixels are those of the whole file bit by bit (tested).

A filter computes each byte from the same byte of the pixels to the left and above. So the high bytes of 16-bit colours,
which are all that Pillow uses of them, are decoded alone. 16-bit greys and pixels below a byte are decoded as bytes.
"""

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline_lib.transforms.modes import to_srgb
from pipeline_lib.transforms.repair import PNG_START, TEXTS

Bytes = NDArray[np.uint8]

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # colour type -> values of a pixel
GREY, BY_CHANNELS = 0, {1: 0, 2: 4}  # colour types: grey, and that of a number of bytes
FILTERS = 5
TALL = 2  # times as high as wide; Pillow 13 may resize the columns of taller ones first
PIECE = 1 << 18  # bytes that are inflated at a time
STRIP_PIXELS = 1 << 19
# Chunks whose pixels may not be shown as they are: turned, or animated. The files are decoded as a whole.
SPECIAL_CHUNKS = (b"eXIf", b"acTL")
SPECIAL_TEXTS = (b"Raw profile type", b"XML:com.adobe.xmp")
# Bytes that a file may take that Pillow decodes as a whole: with the process itself, they stay below 400 MB.
WHOLE_BYTES = 320_000_000
RGB, PIXEL = 2, 4  # colour type, and bytes that Pillow takes for a pixel


@dataclass(frozen=True)
class PngStrips:
    """A sound PNG that is not interlaced; `before` are the chunks that strips need, `pixels` the compressed stream."""

    width: int
    height: int
    depth: int
    colour: int
    before: bytes
    pixels: tuple[memoryview, ...]
    convert: bool

    @property
    def row_bytes(self) -> int:
        """Return the number of bytes of a row, without that of its filter."""
        return -(-self.width * self.depth * CHANNELS[self.colour] // 8)

    def inflated(self) -> Iterator[Bytes]:
        """Yield the filtered rows (rows, 1 + row_bytes) of each strip; ValueError or zlib.error for a broken stream."""
        stream, size, done = zlib.decompressobj(), 1 + self.row_bytes, 0
        strip = max(1, STRIP_PIXELS // self.width)
        waiting = bytearray()
        for piece in self._pieces():
            while piece and done < self.height:
                waiting += stream.decompress(piece, PIECE)
                piece = stream.unconsumed_tail
                while len(waiting) >= (rows := min(strip, self.height - done)) * size and rows:
                    yield np.frombuffer(bytes(waiting[: rows * size]), np.uint8).reshape(rows, size)
                    del waiting[: rows * size]
                    done += rows
        if done < self.height:
            raise ValueError(f"{done} rows of {self.height}")

    def _pieces(self) -> Iterator[bytes | memoryview]:
        for part in self.pixels:
            for start in range(0, len(part), PIECE):
                yield part[start : start + PIECE]

    def loaded(self) -> Iterator[Image.Image]:
        """Yield the decoded strips, from the top, in the mode that Pillow gives the file."""
        above: Bytes | None = None
        for rows in self.inflated():
            if self.depth == 16 and self.colour != GREY:
                rows = np.concatenate([rows[:, :1], rows[:, 1::2]], axis=1)
                strip = self._below(above, rows, (self.width, 8, self.colour), self.before)
                above = np.asarray(strip)[-1].reshape(-1)
            elif self.depth == 8:
                strip = self._below(above, rows, (self.width, 8, self.colour), self.before)
                above = np.asarray(strip)[-1].reshape(-1)
            else:
                each = 2 if self.depth == 16 else 1
                plain = self._below(above, rows, (self.row_bytes // each, 8, BY_CHANNELS[each]), b"")
                values = np.asarray(plain).reshape(len(rows), -1)
                above = values[-1]
                unfiltered = np.concatenate([np.zeros((len(rows), 1), np.uint8), values], axis=1)
                strip = _decoded(unfiltered, (self.width, self.depth, self.colour), self.before)
            yield strip

    @staticmethod
    def _below(above: Bytes | None, rows: Bytes, kind: tuple[int, int, int], before: bytes) -> Image.Image:
        """Return rows decoded, which are under the row `above` (none for the first)."""
        if above is None:
            return _decoded(rows, kind, before)
        first = np.concatenate([np.zeros(1, np.uint8), above])[None]
        image = _decoded(np.concatenate([first, rows]), kind, before)
        return image.crop((0, 1, image.width, image.height))

    def strips(self) -> Iterator[Image.Image]:
        """Yield the strips as 8-bit RGB, from the top."""
        for strip in self.loaded():
            yield to_srgb(strip, self.convert)[0]

    def image(self) -> Image.Image:
        """Return all pixels."""
        image, top = Image.new("RGB", (self.width, self.height), None), 0
        for strip in self.strips():
            image.paste(strip, (0, top))
            top += strip.height
        return image

    def reduced(self, factor: int) -> Image.Image:
        """Return what `Image.reduce` gives for all pixels."""
        small, top = Image.new("RGB", (-(-self.width // factor), -(-self.height // factor)), None), 0
        for rows in self._aligned(factor):
            part = rows.reduce(factor)
            small.paste(part, (0, top))
            top += part.height
        return small

    def _aligned(self, factor: int) -> Iterator[Image.Image]:
        """Yield the rows in parts whose height is a multiple of a factor, but for the last."""
        rest: Image.Image | None = None
        for strip in self.strips():
            joined = strip if rest is None else _stacked(rest, strip)
            height = joined.height - joined.height % factor
            if height:
                yield joined.crop((0, 0, self.width, height))
            rest = joined.crop((0, height, self.width, joined.height)) if height < joined.height else None
        if rest is not None:
            yield rest

    def resized(self, width: int, height: int) -> Image.Image:
        """Return what `Image.resize` gives for all pixels (bicubic).

        It resizes each row by itself and then the columns, unless the image is tall: then it is resized as a whole.
        """
        if self.height > TALL * self.width:
            return self.image().resize((width, height), Image.Resampling.BICUBIC)
        narrow, top = Image.new("RGB", (width, self.height), None), 0
        for strip in self.strips():
            narrow.paste(strip.resize((width, strip.height), Image.Resampling.BICUBIC), (0, top))
            top += strip.height
        return narrow.resize((width, height), Image.Resampling.BICUBIC)


def png_strips(data: bytes, convert: bool) -> PngStrips | None:
    """Return a PNG in strips; None if it is interlaced, animated, perhaps turned, or not sound in any respect."""
    before, pixels, offset, header = [], [], len(PNG_START), b""
    view = memoryview(data)
    while offset + 12 <= len(data):
        end = offset + 12 + int.from_bytes(data[offset : offset + 4])
        kind, content = data[offset + 4 : offset + 8], view[offset + 8 : end - 4]
        if end > len(data) or zlib.crc32(view[offset + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            return None
        if kind in SPECIAL_CHUNKS or (kind in TEXTS and bytes(content[:20]).startswith(SPECIAL_TEXTS)):
            return None
        if kind == b"IHDR":
            header = bytes(content)
        elif kind == b"IDAT":
            pixels.append(content)
        elif kind == b"IEND":
            break
        elif not pixels and kind not in TEXTS:
            before.append(data[offset:end])
        offset = end
    else:
        return None
    depth, colour, interlaced = header[8], header[9], header[12]
    if interlaced or colour not in CHANNELS:
        return None
    width, height = int.from_bytes(header[:4]), int.from_bytes(header[4:8])
    found = PngStrips(width, height, depth, colour, b"".join(before), tuple(pixels), convert)
    return found if _is_sound(found) else None


def why_too_large(data: bytes) -> str | None:
    """Return why a PNG that is not read in strips takes too much memory, with the way out; None if it does not.

    Pillow has all its pixels in memory, their conversion unless they are plain RGB, and a copy if they may be turned.
    """
    colour, interlaced = data[25], data[28]
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    turned = any(mark in data for mark in (*SPECIAL_CHUNKS, *SPECIAL_TEXTS))
    converted = colour != RGB or b"tRNS" in data or b"iCCP" in data
    copies = 1 + converted + turned
    if copies * PIXEL * width * height <= WHOLE_BYTES:
        return None
    plain = "animated, turned or damaged: save it as a plain PNG"
    advice = "interlaced: save it without interlacing" if interlaced else plain
    return f"{width} x {height}, {advice}"


def _is_sound(png: PngStrips) -> bool:
    try:
        return all(int(rows[:, 0].max()) < FILTERS for rows in png.inflated())
    except (ValueError, zlib.error):
        return False


def _decoded(rows: Bytes, kind: tuple[int, int, int], before: bytes) -> Image.Image:
    """Return an image of filtered rows; `kind` is its width, bit depth and colour type."""
    width, depth, colour = kind
    header = width.to_bytes(4) + len(rows).to_bytes(4) + bytes([depth, colour, 0, 0, 0])
    pixels = zlib.compress(rows.tobytes(), level=0)
    file = [PNG_START, _chunk(b"IHDR", header), before, _chunk(b"IDAT", pixels), _chunk(b"IEND", b"")]
    image = Image.open(io.BytesIO(b"".join(file)), formats=("PNG",))
    image.load()
    return image


def _chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4) + kind + content + zlib.crc32(content, zlib.crc32(kind)).to_bytes(4)


def _stacked(upper: Image.Image, lower: Image.Image) -> Image.Image:
    both = Image.new("RGB", (upper.width, upper.height + lower.height), None)
    both.paste(upper, (0, 0))
    both.paste(lower, (0, upper.height))
    return both
