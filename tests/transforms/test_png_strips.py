"""A large PNG in strips has the pixels of the whole file bit by bit, in little memory; other files are read as a whole.

The rows are random filtered bytes with random filters, which are a sound PNG of any bit depth and colour type.
"""

import contextlib
import math
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from pipeline_lib.catalogue.photos import check_photos
from pipeline_lib.transforms import decode, png_strips
from pipeline_lib.transforms.decode import read_photo
from pipeline_lib.transforms.png_strips import CHANNELS, PngStrips

# Bit depths of each colour type.
KINDS = [(0, depth) for depth in (1, 2, 4, 8, 16)] + [(3, depth) for depth in (1, 2, 4, 8)]
KINDS += [(colour, depth) for colour in (2, 4, 6) for depth in (8, 16)]


def chunk(kind, content):
    return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)


def random_png(colour, depth, width, height, seed=0, clear=False, more=(), interlaced=0):
    """A PNG of random filtered bytes; `clear`: with a transparent colour, or transparent entries of the palette."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 256, (height, 1 + -(-width * depth * CHANNELS[colour] // 8)), np.uint8)
    rows[:, 0] = rng.integers(0, 5, height)
    header = width.to_bytes(4) + height.to_bytes(4) + bytes([depth, colour, 0, 0, interlaced])
    chunks = [chunk(b"IHDR", header), *more]
    if colour == 3:
        chunks.append(chunk(b"PLTE", rng.integers(0, 256, 3 * 2**depth, np.uint8).tobytes()))
    if clear and colour in (0, 2, 3):
        content = {0: b"\0\1", 2: b"\0\1\0\2\0\3", 3: rng.integers(0, 256, 2**depth, np.uint8).tobytes()}[colour]
        chunks.append(chunk(b"tRNS", content))
    data = zlib.compress(rows.tobytes())
    middle = len(data) // 2
    chunks += [chunk(b"IDAT", data[:middle]), chunk(b"IDAT", data[middle:]), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def in_strips(data, rows=5, **options):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(decode, "LARGE", 0)
        patched.setattr(png_strips, "STRIP_PIXELS", rows * int.from_bytes(data[16:20]))
        photo = read_photo(data, **options)
        if isinstance(photo.raster, PngStrips):
            small = photo.reduced(4)
            return photo, np.asarray(photo.image()), np.asarray(small)
    return photo, None, None


@settings(max_examples=150, derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    clear=st.booleans(),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    rows=st.integers(1, 12),
    seed=st.integers(0, 9),
)
def test_the_pixels_are_those_of_the_whole_file(kind, clear, width, height, rows, seed):
    data = random_png(*kind, width, height, seed, clear)
    whole = read_photo(data)
    photo, pixels, small = in_strips(data, rows)
    assert isinstance(photo.raster, PngStrips)
    assert (photo.width, photo.height, photo.is_plain, photo.notes) == (width, height, whole.is_plain, whole.notes)
    assert np.array_equal(pixels, whole.pixels())
    assert np.array_equal(small, np.asarray(whole.reduced(4)))


@settings(max_examples=40, derandomize=True)
@given(width=st.integers(20, 200), shape=st.floats(0.2, 4), size=st.integers(8, 19), seed=st.integers(0, 9))
def test_it_is_resized_as_the_whole_image(width, shape, size, seed):
    """Both sides by the same factor, as shards are, and tall images too."""
    height = max(20, round(width * shape))
    shorter = min(width, height)
    target = max(size, round(width * size / shorter)), max(size, round(height * size / shorter))
    data = random_png(2, 8, width, height, seed)
    strips = png_strips.png_strips(data, True)
    whole = read_photo(data).image().resize(target, Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(strips.resized(*target)), np.asarray(whole))


def test_every_kind_is_converted_with_its_profile():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    content = b"a\0\0" + zlib.compress(profile)
    data = random_png(2, 8, 20, 20, more=[chunk(b"iCCP", content)])
    whole, (photo, pixels, _) = read_photo(data), in_strips(data)
    assert whole.notes and photo.notes == whole.notes
    assert np.array_equal(pixels, whole.pixels())


@pytest.mark.parametrize("convert_profile", [True, False])
def test_a_profile_that_moves_colours_is_applied_to_each_strip(convert_profile):
    grey = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    data = random_png(6, 8, 20, 20, more=[chunk(b"iCCP", b"a\0\0" + zlib.compress(grey))])
    whole = read_photo(data, convert_profile=convert_profile)
    photo, pixels, _ = in_strips(data, convert_profile=convert_profile)
    assert photo.notes == whole.notes and np.array_equal(pixels, whole.pixels())


@pytest.mark.parametrize(
    "more",
    [
        [chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0")],
        [chunk(b"tEXt", b"Raw profile type exif\0x")],
        [chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>")],
        [chunk(b"acTL", b"\0\0\0\1\0\0\0\0")],
    ],
    ids=["exif", "exif as text", "xmp", "animated"],
)
def test_a_file_that_may_be_turned_or_moves_is_read_as_a_whole(more):
    photo, *_ = in_strips(random_png(2, 8, 10, 10, more=more))
    assert isinstance(photo.raster, Image.Image)


def test_an_interlaced_file_is_read_as_a_whole():
    stream = random_png(2, 8, 1, 1, interlaced=1)
    photo, *_ = in_strips(stream)
    assert isinstance(photo.raster, Image.Image)


EXIF = chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0")


@pytest.mark.parametrize(
    ("kind", "more", "interlaced", "copies", "line"),
    [
        ((2, 8), [], 1, 1, "interlaced: save it without interlacing"),
        ((2, 16), [], 1, 1, "interlaced: save it without interlacing"),
        ((2, 8), [chunk(b"tRNS", b"\0\1\0\2\0\3")], 1, 2, "interlaced: save it without interlacing"),
        ((6, 8), [], 1, 2, "interlaced: save it without interlacing"),
        ((6, 16), [], 1, 2, "interlaced: save it without interlacing"),
        ((0, 8), [], 1, 2, "interlaced: save it without interlacing"),
        ((2, 8), [EXIF], 0, 2, "animated, turned or damaged: save it as a plain PNG"),
        ((6, 8), [EXIF], 1, 3, "interlaced: save it without interlacing"),
        ((2, 8), [chunk(b"acTL", b"\0\0\0\1\0\0\0\0")], 0, 2, "animated, turned or damaged: save it as a plain PNG"),
    ],
)
def test_a_file_that_is_decoded_as_a_whole_has_a_limit(monkeypatch, kind, more, interlaced, copies, line):
    """Each copy of its pixels takes 4 bytes a pixel. One of a pixel more than fits is refused before it is decoded."""
    monkeypatch.setattr(decode, "LARGE", 0)
    monkeypatch.setattr(png_strips, "WHOLE_BYTES", copies * 4 * 100)
    data = random_png(*kind, 101, 1, more=more, interlaced=interlaced)
    with pytest.raises(decode.BadPhotoError) as fault:
        read_photo(data)
    assert fault.value.reason == "PNG that must be decoded as a whole is too large"
    assert fault.value.value == f"101 x 1, {line}"
    monkeypatch.setattr(png_strips, "WHOLE_BYTES", copies * 4 * 101)
    with contextlib.suppress(decode.BadPhotoError):  # these random bytes are no sound stream of seven passes
        read_photo(data)


def test_a_plain_file_of_any_size_has_none(monkeypatch):
    monkeypatch.setattr(decode, "LARGE", 0)
    monkeypatch.setattr(png_strips, "WHOLE_BYTES", 0)
    assert isinstance(read_photo(random_png(6, 16, 101, 3)).raster, PngStrips)


def test_the_catalogue_counts_such_a_file_with_its_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "LARGE", 0)
    monkeypatch.setattr(png_strips, "WHOLE_BYTES", 0)
    (tmp_path / "a.png").write_bytes(random_png(2, 8, 20, 20, interlaced=1))
    (fault,) = check_photos(tmp_path.resolve(), 10**6, ["a.png"], ()).faults
    assert fault.reason == "PNG that must be decoded as a whole is too large"
    assert fault.value == "20 x 20, interlaced: save it without interlacing"


@pytest.mark.parametrize("place", [0.3, 0.5, 0.9])
def test_a_damaged_file_has_the_reason_of_the_whole_file(place):
    data = bytearray(random_png(2, 8, 30, 30))
    data[int(len(data) * place)] ^= 8
    found = []
    for read in (read_photo, in_strips):
        try:
            found.append("readable" if read(bytes(data)) else "")
        except decode.BadPhotoError as error:
            found.append(str(error))
    assert found[0] == found[1]


# Arguments: the file, and what is done with it.
PROGRAM = """
import re, sys
from pathlib import Path
from PIL import Image
from pipeline_lib.catalogue.photos import WORK_SIDE, thumbnail
from pipeline_lib.shards.photo import store_photo
from pipeline_lib.transforms.decode import read_photo
Image.MAX_IMAGE_PIXELS = None
data = Path(sys.argv[1]).read_bytes()
if sys.argv[2] == "catalogue":
    thumbnail(read_photo(data, 256).reduced(WORK_SIDE))
else:
    store_photo(data, 96, 90)
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.parametrize("step", ["catalogue", "shards"])
def test_a_process_reads_24_megapixels_with_alpha_in_little_memory(tmp_path, step):
    """About 80 MB, nearly all of it the process itself; the image and its conversion would take 200 MB more."""
    header = (6000).to_bytes(4) + (4000).to_bytes(4) + bytes([8, 6, 0, 0, 0])
    pixels = zlib.compress(bytes(4000 * (1 + 4 * 6000)), 1)
    file = tmp_path / "a.png"
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(file), step], capture_output=True, text=True, check=True, timeout=300
    )
    assert math.ceil(int(done.stdout) / 1000) < 140, done.stdout
