"""Embedded colour profiles: what a decoded colour must be by the formulas, and when a profile changes nothing."""

import numpy as np
import pytest
from drawn_files import PRIMARIES, cmyk_profile, encoded, from_primaries, gradient, grey_profile, rgb_profile
from PIL import Image, ImageCms

from pipeline_lib.transforms.decode import decode, read_photo

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
COLOURS = [(200, 40, 40), (30, 180, 60), (20, 60, 220), (128, 128, 128), (0, 0, 0), (255, 255, 255)]


def colour_of(data: bytes) -> np.ndarray:
    return np.asarray(decode(data)).astype(int).reshape(-1, 3)[0]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
@pytest.mark.parametrize("name", PRIMARIES)
@pytest.mark.parametrize("colour", COLOURS)
def test_colours_of_a_profile_become_srgb(kind, name, colour):
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100}, "AVIF": {"quality": 100}}.get(kind, {})
    data = encoded(Image.new("RGB", (16, 16), colour), kind, icc_profile=rgb_profile(name), **options)
    assert np.abs(colour_of(data) - from_primaries(colour, name)).max() <= {"AVIF": 5, "JPEG": 3}.get(kind, 2)


def test_a_red_moves_as_far_as_the_docs_say():
    moved = [np.abs(from_primaries((200, 40, 40), name) - (200, 40, 40)).max() for name in PRIMARIES]
    assert min(moved) > 15


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_profile_that_is_srgb_changes_no_pixel_and_keeps_the_file_plain(kind):
    with_profile = read_photo(encoded(gradient(), kind, icc_profile=SRGB))
    without = read_photo(encoded(gradient(), kind))
    assert np.array_equal(with_profile.pixels(), without.pixels())
    assert with_profile.is_plain and not with_profile.notes


def test_a_long_srgb_profile_in_parts_keeps_the_fast_decoder(monkeypatch):
    monkeypatch.setattr(Image, "open", None)  # the fast decoder does not open the file with Pillow
    profile = SRGB + bytes(150_000)
    data = encoded(gradient(), "JPEG", icc_profile=profile)
    assert data.count(b"ICC_PROFILE\0") == 3
    assert read_photo(data).is_plain


def test_a_long_profile_in_parts_is_converted():
    data = encoded(
        Image.new("RGB", (16, 16), (200, 40, 40)),
        "JPEG",
        quality=100,
        icc_profile=rgb_profile("Adobe RGB", 2.2, 150_000),
    )
    assert np.abs(colour_of(data) - from_primaries((200, 40, 40), "Adobe RGB", 2.2)).max() <= 3


@pytest.mark.parametrize("mode", ["L", "LA", "1", "I;16"])
def test_greys_of_a_grey_profile_become_srgb(mode):
    values = {"L": 128, "LA": (128, 255), "1": 1, "I;16": 128 * 257}
    data = encoded(Image.new(mode, (4, 4), values[mode]), "PNG", icc_profile=grey_profile(1.0))
    # Linear light 128 / 255 is sRGB level 188.
    assert np.abs(colour_of(data) - (255 if mode == "1" else 188)).max() <= 1


def test_a_grey_image_may_have_a_profile_for_rgb():
    data = encoded(Image.new("L", (4, 4), 128), "PNG", icc_profile=rgb_profile("Adobe RGB", 1.0))
    assert np.abs(colour_of(data) - 188).max() <= 1


@pytest.mark.parametrize(("ink", "level"), [((0, 0, 0, 0), 255), ((255, 0, 0, 0), 126), ((0, 0, 0, 255), 0)])
@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_inks_of_a_cmyk_profile_become_srgb(ink, level, kind):
    data = encoded(Image.new("CMYK", (16, 16), ink), kind, icc_profile=cmyk_profile(53))  # L* = 53 is level 126
    assert np.abs(colour_of(data) - level).max() <= 4


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_transparency_over_white_has_converted_colours(mode):
    image = Image.new("RGBA", (2, 1), (200, 40, 40, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    if mode == "P":
        image = image.quantize(4)
    data = encoded(image, "PNG", icc_profile=rgb_profile("Display P3"))
    pixels = np.asarray(decode(data)).astype(int)[0]
    assert np.abs(pixels[0] - from_primaries((200, 40, 40), "Display P3")).max() <= 2
    assert pixels[1].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    ("profile", "why"),
    [
        (b"no profile at all", "broken profile"),
        (rgb_profile("Adobe RGB")[:150], "broken profile"),
        (cmyk_profile(50), "a profile for CMYK in an image of RGB"),
        (grey_profile(1.0), "a profile for GRAY in an image of RGB"),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_broken_or_unfit_profile_is_noted_and_not_used(profile, why, kind):
    photo = read_photo(encoded(gradient(), kind, icc_profile=profile))
    assert [(note.reason, why in note.value) for note in photo.notes] == [("colour profile not used", True)]
    assert np.array_equal(photo.pixels(), decode(encoded(gradient(), kind)))


def test_an_ignored_profile_leaves_the_numbers_and_makes_no_note():
    for profile in (rgb_profile("Display P3"), b"no profile at all"):
        photo = read_photo(encoded(gradient(), "PNG", icc_profile=profile), convert_profile=False)
        assert np.array_equal(photo.pixels(), gradient())
        assert photo.notes == ()


def test_lab_pixels_become_srgb_without_a_profile():
    # L* = 53 is level 126 of grey; a and b are signed bytes in Pillow's mode.
    lab = ImageCms.applyTransform(
        Image.new("RGB", (4, 4), (200, 40, 40)),
        ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"),
    )
    assert np.abs(colour_of(encoded(lab, "TIFF")) - (200, 40, 40)).max() <= 4
