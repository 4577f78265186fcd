import io
import re
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pipeline_lib.transforms.decode import decode, orientation, read_photo
from pipeline_lib.transforms.formats import COMMON

GRADIENT = np.add.outer(np.arange(24) * 5, np.arange(40) * 3)[:, :, None] + np.array([0, 10, 20])


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def photo(width: int = 40, height: int = 24) -> Image.Image:
    return Image.fromarray(GRADIENT.astype(np.uint8)).resize((width, height))


@pytest.mark.parametrize("value", range(1, 9))
def test_every_exif_orientation_is_decoded_upright(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    data = encoded(photo(), "JPEG", exif=exif, quality=95)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.array_equal(decode(data), expected)
    assert decode(data).size == ((24, 40) if value >= 5 else (40, 24))


def test_a_photo_with_a_broken_exif_block_is_not_rotated() -> None:
    data = encoded(photo(), "JPEG", exif=b"Exif\0\0garbage that is no TIFF header")
    assert orientation(Image.open(io.BytesIO(data))) == 1
    assert decode(data).size == (40, 24)


def test_an_unknown_orientation_counts_as_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    assert decode(encoded(photo(), "JPEG", exif=exif)).size == (40, 24)


# (mode, pixel, expected RGB); transparency is over white, so half-transparent black is mid grey.
PIXELS = [
    ("RGBA", (0, 0, 0, 0), (255, 255, 255)),
    ("RGBA", (0, 0, 0, 255), (0, 0, 0)),
    ("RGBA", (255, 0, 0, 128), (255, 127, 127)),
    ("LA", (0, 0), (255, 255, 255)),
    ("L", 90, (90, 90, 90)),
    ("1", 1, (255, 255, 255)),
    ("I;16", 65535, (255, 255, 255)),
    ("I;16", 257 * 100, (100, 100, 100)),
]


@pytest.mark.parametrize(("mode", "pixel", "rgb"), PIXELS)
def test_every_png_mode_becomes_rgb(mode: str, pixel: tuple[int, ...], rgb: tuple[int, int, int]) -> None:
    decoded = decode(encoded(Image.new(mode, (3, 2), pixel), "PNG"))
    assert decoded.mode == "RGB"
    assert np.abs(np.asarray(decoded).astype(int) - rgb).max() <= 1


def test_a_transparent_palette_entry_is_over_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    assert np.asarray(decode(encoded(image, "PNG"))).tolist() == [[[10, 20, 30], [200, 100, 50]]]
    transparent = encoded(image, "PNG", transparency=1)
    assert np.asarray(decode(transparent)).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_a_transparent_colour_of_an_rgb_png_is_over_white() -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (9, 9, 9))
    data = encoded(image, "PNG", transparency=(9, 9, 9))
    assert np.asarray(decode(data)).tolist() == [[[1, 2, 3], [255, 255, 255]]]


def test_cmyk_jpeg_keeps_its_colours() -> None:
    data = encoded(Image.new("RGB", (16, 16), (200, 40, 40)).convert("CMYK"), "JPEG", quality=95)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    assert np.abs(np.asarray(decode(data)).astype(int) - (200, 40, 40)).max() <= 6


@pytest.mark.parametrize(("peak", "white"), [(1.0, 1.0), (255.0, 255.0), (65535.0, 65535.0), (1e6, 1e6)])
def test_a_float_tiff_is_scaled_by_the_smallest_peak_that_is_not_exceeded(peak: float, white: float) -> None:
    values = np.array([[0.0, peak / 2, peak]], dtype=np.float32)
    pixels = np.asarray(decode(encoded(Image.fromarray(values), "TIFF")))
    assert pixels[0, :, 0].tolist() == pytest.approx((values[0] * 255 / white).tolist(), abs=1)


def test_32_bit_integers_keep_their_8_bit_values() -> None:
    values = np.array([[0, 128, 255]], dtype=np.int32)
    assert np.asarray(decode(encoded(Image.fromarray(values), "TIFF")))[0, :, 1].tolist() == [0, 128, 255]


@given(width=st.integers(8, 700), height=st.integers(8, 700), size=st.integers(4, 64))
def test_a_reduced_jpeg_has_at_least_twice_the_requested_size(width: int, height: int, size: int) -> None:
    decoded = decode(encoded(Image.new("RGB", (width, height)), "JPEG"), size)
    assert min(decoded.size) >= min(2 * size, width, height)
    assert min(decoded.size) < 4 * size + 8 or min(width, height) > 32 * size


def test_a_reduced_jpeg_is_close_to_the_full_one() -> None:
    data = encoded(photo(800, 480), "JPEG", quality=95)
    reduced = decode(data, 32)
    assert reduced.size == (200, 120)
    full = decode(data).resize(reduced.size, Image.Resampling.BOX)
    assert np.abs(np.asarray(reduced).astype(int) - np.asarray(full)).mean() < 1


JPEGS = {
    "4:4:4": {"subsampling": "4:4:4"}, "4:2:2": {"subsampling": "4:2:2"}, "4:2:0": {"subsampling": "4:2:0"},
    "progressive": {"progressive": True}, "restarts": {"restart_marker_blocks": 3}, "RGB inside": {"keep_rgb": True},
}  # fmt: skip


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    size=st.none() | st.integers(1, 40),
    kind=st.sampled_from([*JPEGS, "grey"]),
)
def test_the_fast_decoder_gives_the_pixels_of_pillow(width: int, height: int, size: int | None, kind: str) -> None:
    noise = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    data = encoded(image.convert("L"), "JPEG") if kind == "grey" else encoded(image, "JPEG", **JPEGS[kind])
    opened = Image.open(io.BytesIO(data))
    if size is not None:
        opened.draft(None, (2 * size, 2 * size))
    assert np.array_equal(decode(data, size), opened.convert("RGB"))


def test_the_fast_decoder_also_refuses_an_image_over_pillows_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    with pytest.raises(ValueError, match="exceeds limit"):
        decode(encoded(photo(), "JPEG"))


@given(cut=st.integers(1, 3000), noise=st.integers(0, 2**32))
def test_a_damaged_jpeg_is_decoded_or_refused_as_by_pillow(cut: int, noise: int) -> None:
    data = bytearray(encoded(photo(200, 120), "JPEG", quality=95))
    rng = np.random.default_rng(noise)
    data[int(rng.integers(len(data)))] ^= int(rng.integers(1, 256))
    data = bytes(data[: -cut % len(data)])
    try:
        expected = np.asarray(Image.open(io.BytesIO(data), formats=COMMON).convert("RGB"))
    except Exception:  # any error of Pillow means that the image is not readable, or readable with a note
        try:
            assert read_photo(data).notes
        except ValueError as error:
            assert re.match("truncated image|unreadable image|not an image", str(error))
    else:
        assert np.array_equal(decode(data), expected)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"just text",
        encoded(photo(200, 200), "JPEG")[:-400],
        encoded(photo(200, 200), "PNG")[:300],
        b"\xff\xd8\xff\xe0" + bytes(40),
        encoded(photo(), "EPS"),  # its decoder would start a program
        struct.pack("<2sIHHI", b"BM", 60, 0, 0, 54) + bytes(20),
    ],
)
def test_an_incomplete_image_is_one_error_line(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"truncated image: |unreadable image: |not an image: ") as caught:
        decode(data)
    assert "\n" not in str(caught.value)
