"""Bit depths: one picture in every depth that files have decodes to the same 8-bit picture."""

import io

import numpy as np
import pytest
from drawn_files import encoded, gradient, tiff
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from pipeline_lib.transforms import modes
from pipeline_lib.transforms.decode import decode

EIGHT = np.asarray(gradient().convert("L"))
SIZE = gradient().size
FULL = EIGHT.astype(np.float64) / 255


def scaled(white: float, kind: str) -> bytes:
    return np.rint(FULL * white).astype(kind).tobytes()


# name -> file of the picture EIGHT
DEPTHS = {
    "8-bit PNG": encoded(Image.fromarray(EIGHT), "PNG"),
    "16-bit PNG": encoded(Image.fromarray(np.rint(FULL * 65535).astype(np.uint16)), "PNG"),
    "16-bit TIFF": tiff(scaled(65535, "<u2"), SIZE, 16),
    "16-bit TIFF, white is 0": tiff(np.rint((1 - FULL) * 65535).astype("<u2").tobytes(), SIZE, 16, photometric=0),
    "32-bit TIFF of 8 bits": tiff(scaled(255, "<i4"), SIZE, 32, sample_format=2),
    "32-bit TIFF of 16 bits": tiff(scaled(65535, "<i4"), SIZE, 32, sample_format=2),
    "32-bit TIFF, signed": tiff(scaled(2**31 - 1, "<i4"), SIZE, 32, sample_format=2),
    "32-bit TIFF, unsigned": tiff(scaled(2**32 - 1, "<u4"), SIZE, 32),
    "float TIFF to 1": tiff(FULL.astype("<f4").tobytes(), SIZE, 32, sample_format=3),
    "float TIFF to 255": tiff((FULL * 255).astype("<f4").tobytes(), SIZE, 32, sample_format=3),
    "float TIFF to 65535": tiff((FULL * 65535).astype("<f4").tobytes(), SIZE, 32, sample_format=3),
    "16-bit PGM": b"P5 %d %d 65535\n" % SIZE + np.rint(FULL * 65535).astype(">u2").tobytes(),
}  # fmt: skip


def twelve_bits(values: np.ndarray) -> bytes:
    pairs = values.reshape(-1, 2).astype(int)
    return bytes(byte for a, b in pairs for byte in (a >> 4, (a & 15) << 4 | b >> 8, b & 255))


DEPTHS["12-bit TIFF"] = tiff(twelve_bits(np.rint(FULL * 4095)), SIZE, 12)


@pytest.mark.parametrize("name", DEPTHS)
def test_every_depth_gives_the_8_bit_picture(name: str) -> None:
    pixels = np.asarray(decode(DEPTHS[name])).astype(int)
    assert np.abs(pixels - EIGHT[:, :, None]).max() <= 1


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=20))
def test_16_bits_are_rounded_to_8(values: list[int]) -> None:
    data = encoded(Image.fromarray(np.array([values], dtype=np.uint16)), "PNG")
    assert np.asarray(decode(data))[0, :, 0].tolist() == [round(value / 257) for value in values]


@pytest.mark.parametrize("peak", [1.02, 257.5, 4095.0, 1e6])
def test_values_just_above_a_usual_white_do_not_make_the_picture_black(peak: float) -> None:
    data = tiff((FULL / FULL.max() * peak).astype("<f4").tobytes(), SIZE, 32, sample_format=3)
    assert np.abs(np.asarray(decode(data)).astype(int)[:, :, 0] - np.rint(FULL / FULL.max() * 255)).max() <= 1


def test_negative_values_use_the_range_of_the_picture() -> None:
    values = np.array([[-1000.0, 0.0, 1000.0, np.nan, np.inf]], dtype="<f4")
    pixels = np.asarray(decode(tiff(values.tobytes(), (5, 1), 32, sample_format=3)))
    assert pixels[0, :, 0].tolist() == [0, 128, 255, 0, 255]


@pytest.mark.parametrize("values", [[0.0, 0.0], [-3.0, -3.0], [np.nan, np.nan]])
def test_a_blank_picture_is_blank(values: list[float]) -> None:
    pixels = np.asarray(decode(tiff(np.array(values, "<f4").tobytes(), (2, 1), 32, sample_format=3)))
    assert len(np.unique(pixels)) == 1


@pytest.mark.parametrize("depth", ["uint16", "int32", "float32"])
def test_dark_pictures_of_different_goods_stay_different(depth: str) -> None:
    # 12 pictures whose values are all above 255 or all below 1: `convert("RGB")` makes each of them white or black.
    rng = np.random.default_rng(0)
    white = {"uint16": 65535, "int32": 65535, "float32": 1.0}[depth]
    shown = set()
    for _ in range(12):
        values = (rng.uniform(0.2, 0.9, (8, 8)) * white).astype(depth)
        data = encoded(Image.fromarray(values), "TIFF")
        shown.add(np.asarray(decode(data)).tobytes())
        assert np.asarray(decode(data)).std() > 20
    assert len(shown) == 12


def test_the_transparent_grey_of_a_16_bit_png_is_white() -> None:
    image = Image.fromarray(np.array([[1000, 40000]], dtype=np.uint16))
    data = encoded(image, "PNG", transparency=1000)
    assert np.asarray(decode(data))[0, :, 0].tolist() == [255, round(40000 / 257)]


def pictures() -> list[Image.Image]:
    """Return a picture of each way in which a PNG stores one: depth, palette, transparency, profile."""
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (31, 17, 4), np.uint8), "RGBA")
    grey, profile = colours.getchannel("R"), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    found = [colours, colours.convert("RGB"), grey, grey.convert("1"), colours.convert("RGB").quantize(20)]
    found += [Image.merge("LA", (grey, colours.getchannel("A"))), colours.quantize(9)]
    found += [Image.fromarray(rng.integers(0, 65536, (31, 17)).astype(np.uint16))]
    written = []
    for picture in found:
        for options in ({}, {"transparency": 7 if picture.mode != "RGB" else (1, 2, 3)}, {"icc_profile": profile}):
            stream = io.BytesIO()
            picture.save(stream, "PNG", **(options if "A" not in picture.mode or "icc_profile" in options else {}))
            written.append(Image.open(stream))
            written[-1].load()
    return written


@pytest.mark.parametrize("convert", [True, False])
def test_a_large_picture_is_converted_in_strips_with_the_same_pixels(
    monkeypatch: pytest.MonkeyPatch, convert: bool
) -> None:
    whole = [modes.to_srgb(picture, convert) for picture in pictures()]
    monkeypatch.setattr(modes, "LARGE", 100)
    monkeypatch.setattr(modes, "STRIP", 7)
    sizes = []
    real = modes._converted
    monkeypatch.setattr(modes, "_converted", lambda rows, convert: sizes.append(rows.size) or real(rows, convert))
    for picture, (expected, problem) in zip(pictures(), whole, strict=True):
        rgb, found = modes.to_srgb(picture, convert)
        assert (rgb.mode, rgb.size, found) == ("RGB", expected.size, problem)
        assert rgb.tobytes() == expected.tobytes()
        if picture.mode == "RGB" and not picture.info.keys() & {"icc_profile", "transparency"}:
            assert rgb is picture  # 4 bytes a pixel once
    assert set(sizes) == {(17, 7), (17, 3)}
