"""Formats are known by their content; a file that is no photo gets a reason that says what it is."""

import io
import itertools

import numpy as np
import pytest
from drawn_files import encoded, gradient
from PIL import Image

from pipeline_lib.transforms.decode import decode
from pipeline_lib.transforms.formats import NOT_DECODED, BadPhotoError, other_formats

LOSSY = {"JPEG": 3, "AVIF": 6, "JPEG2000": 0, "WEBP": 6, "GIF": 40, "PCX": 0}
# Formats that Pillow writes in RGB and decodes.
WRITTEN = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA", "PCX", "SGI", "ICO",
           "DDS", "QOI", "ICNS")  # fmt: skip


@pytest.mark.parametrize("kind", WRITTEN)
def test_every_format_is_read_by_its_content(kind: str) -> None:
    side = 32 if kind in ("ICO", "ICNS") else 40
    image = gradient(side, side if side == 32 else 24)
    data = encoded(image, kind, **({"sizes": [(32, 32)]} if kind == "ICO" else {}))
    decoded = decode(data).resize(image.size)
    assert (
        np.abs(np.asarray(decoded).astype(int) - np.asarray(image)).mean() <= LOSSY.get(kind, 0) + (kind == "ICNS") * 9
    )


def test_of_an_animation_the_first_frame_is_read() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
        assert Image.open(io.BytesIO(data)).n_frames == 2
        assert np.asarray(decode(data))[0, 0].tolist() == [255, 0, 0]


def test_formats_that_run_programs_or_open_others_are_not_decoded() -> None:
    assert {"EPS", "WMF", "IPTC"} <= NOT_DECODED
    assert not NOT_DECODED & set(other_formats())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC.*JPEG"),
        (b"\xff\x0a" + bytes(40), "JPEG XL"),
        (b"<!DOCTYPE html><html>404</html>", "HTML"),
        (b"<?xml version='1.0'?><svg xmlns='x'></svg>", "SVG"),
        (b"%PDF-1.7 and so on", "PDF"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"PK\x03\x04" + bytes(40), "archive"),
        (b"\0\0\0\x18ftypisom" + bytes(40), "video"),
    ],
)
def test_a_file_that_is_no_photo_is_named(data: bytes, words: str) -> None:
    with pytest.raises(BadPhotoError, match=words) as caught:
        decode(data)
    assert caught.value.reason == "not an image"
    assert "\n" not in str(caught.value)


def test_a_broken_header_of_a_known_format_is_not_called_no_image() -> None:
    for kind, cut in itertools.product(("PNG", "GIF", "BMP"), (20, 26)):
        with pytest.raises(BadPhotoError) as caught:
            decode(encoded(gradient(), kind)[:cut])
        assert caught.value.reason in ("unreadable image", "truncated image"), (kind, cut)
