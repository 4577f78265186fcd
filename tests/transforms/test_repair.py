"""Files that lack nothing are read although Pillow refuses them; files that lack pixels are not."""

import io
import struct
import zlib

import numpy as np
import pytest
from drawn_files import encoded, gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from pipeline_lib.transforms.decode import decode, read_photo
from pipeline_lib.transforms.formats import BadPhotoError

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8))
ROTATED = Image.Exif()
ROTATED[0x0112] = 6
JPEGS = {
    "baseline": encoded(NOISE, "JPEG", quality=90),
    "4:2:0": encoded(NOISE, "JPEG", subsampling="4:2:0"),
    "progressive": encoded(NOISE, "JPEG", progressive=True),
    "grey": encoded(NOISE.convert("L"), "JPEG"),
    "progressive grey": encoded(NOISE.convert("L"), "JPEG", progressive=True),
    "CMYK": encoded(NOISE.convert("CMYK"), "JPEG"),
    "rotated": encoded(NOISE, "JPEG", exif=ROTATED),
    "restarts": encoded(NOISE, "JPEG", restart_marker_blocks=3),
    "flat": encoded(Image.new("RGB", (200, 200), "red"), "JPEG", progressive=True),
}


@pytest.mark.parametrize("cut", [1, 2])
@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_without_its_end_mark_is_complete_and_noted(name: str, cut: int) -> None:
    photo = read_photo(JPEGS[name][:-cut])
    assert np.array_equal(photo.pixels(), decode(JPEGS[name]))
    assert [note.reason for note in photo.notes] == ["no end mark"]
    assert not photo.is_plain


@settings(max_examples=150)
@given(name=st.sampled_from(sorted(JPEGS)), part=st.floats(0, 1))
def test_a_jpeg_that_is_cut_anywhere_else_is_refused(name: str, part: float) -> None:
    data = JPEGS[name]
    data = data[: int(part * (len(data) - 2))]
    try:
        photo = read_photo(data)
    except BadPhotoError:
        return
    # The cut took bits that fill the last byte, and no pixel.
    assert np.array_equal(photo.pixels(), decode(JPEGS[name]))


def test_a_progressive_jpeg_without_its_last_scans_is_refused() -> None:
    data = JPEGS["progressive"]
    scans = [place for place in range(len(data)) if data[place : place + 2] == b"\xff\xda"]
    assert len(scans) > 4
    for end in scans[1:]:
        with pytest.raises(BadPhotoError, match="truncated image"):
            decode(data[:end])


def chunk(kind: bytes, content: bytes, wrong: int = 0) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content) ^ wrong)


def with_chunk(inserted: bytes, image: Image.Image = NOISE, **options: object) -> bytes:
    data = encoded(image, "PNG", **options)
    return data[:33] + inserted + data[33:]  # after the header


CHUNKS = {
    "comment with a wrong checksum": chunk(b"tEXt", b"Comment\0shop", wrong=1),
    "unknown chunk with a wrong checksum": chunk(b"prVt", b"x", wrong=1),
    "resolution with a wrong checksum": chunk(b"pHYs", bytes(9), wrong=1),
    "long comment": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1))),
    "many comments": chunk(b"tEXt", b"Comment\0" + b"x" * 900_000) * 80,
    "long international comment": chunk(
        b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(b"x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1))
    ),
    "resolution of the wrong length": chunk(b"pHYs", b"x"),
    "profile that is too long": chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(PngImagePlugin.MAX_TEXT_CHUNK + 1))),
}


@pytest.mark.parametrize("name", CHUNKS)
def test_a_png_with_odd_metadata_is_a_photo(name: str) -> None:
    photo = read_photo(with_chunk(CHUNKS[name]))
    assert np.array_equal(photo.pixels(), NOISE)
    assert [note.reason for note in photo.notes] == ["broken metadata"]
    assert not photo.is_plain


def test_the_transparent_colour_remains_when_chunks_are_dropped() -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (9, 9, 9))
    data = with_chunk(CHUNKS["resolution of the wrong length"], image, transparency=(9, 9, 9))
    assert np.asarray(decode(data)).tolist() == [[[1, 2, 3], [255, 255, 255]]]


def test_a_png_whose_pixels_are_damaged_is_refused() -> None:
    data = bytearray(encoded(NOISE, "PNG"))
    data[len(data) // 2] ^= 255
    for damaged in (bytes(data), bytes(data[:-400]), with_chunk(CHUNKS["long comment"])[:-400]):
        with pytest.raises(BadPhotoError, match="truncated image|unreadable image"):
            decode(damaged)


EXIF = Image.Exif()
EXIF[0x0112], EXIF[282], EXIF[306] = 6, 72.0, "2026:01:01 00:00:00"
EXIF.get_ifd(0x8769)[33434] = 1 / 60
BLOCK = EXIF.tobytes()


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=200)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP"]),
    places=st.lists(st.tuples(st.integers(6, len(BLOCK) - 1), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_no_exif_block_makes_a_photo_unreadable(kind: str, places: list[tuple[int, int]]) -> None:
    block = bytearray(BLOCK)
    for place, value in places:
        block[place] = value
    data = encoded(gradient(), kind, exif=bytes(block))
    expected = np.asarray(Image.open(io.BytesIO(encoded(gradient(), kind))).convert("RGB"))
    turned = [np.rot90(each, k) for each in (expected, expected[:, ::-1]) for k in range(4)]
    assert any(np.array_equal(decode(data), each) for each in turned)


def test_a_rational_that_nobody_can_write_leaves_the_photo_upright() -> None:
    # -1 / 0 as signed rational, as some cameras write it: Pillow reads it, and raises where it writes the block again.
    entries = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack("<HHII", 282, 10, 1, 8 + 2 + 24 + 4)
    block = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4) + struct.pack("<ii", -1, 0)
    for exif in (block, block + block):
        data = encoded(gradient(), "JPEG", exif=exif)
        upright = Image.open(io.BytesIO(data)).convert("RGB").transpose(Image.Transpose.ROTATE_270)
        photo = read_photo(data)
        assert np.array_equal(photo.pixels(), upright)
        assert (photo.width, photo.height) == upright.size


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_once(compression: str | None, orientation: int) -> None:
    tags = Image.Exif()
    tags[0x0112] = orientation
    photo = read_photo(encoded(gradient(), "TIFF", exif=tags, compression=compression))
    expected = read_photo(encoded(gradient(), "PNG", exif=tags))
    assert np.array_equal(photo.pixels(), expected.pixels())
    assert (photo.width, photo.height) == (expected.width, expected.height)
