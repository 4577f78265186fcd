"""Check, hash, shard and report of a photo show the same picture, whatever mode and format the file has."""

import io
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from drawn_files import cmyk_profile, encoded, gradient, rgb_profile
from PIL import Image

from pipeline_lib.catalogue.photos import check_photos
from pipeline_lib.report.photos import data_uri
from pipeline_lib.shards.photo import store_photo
from pipeline_lib.transforms.decode import decode, read_photo

PICTURE = gradient(90, 60)
GREY = np.asarray(PICTURE.convert("L"))
TURNED = Image.Exif()
TURNED[0x0112] = 6
CLEAR = PICTURE.convert("RGBA")
CLEAR.putalpha(Image.fromarray(GREY))
P3 = {"icc_profile": rgb_profile("Display P3")}
FILES = {
    "RGB": encoded(PICTURE, "JPEG"),
    "1": encoded(PICTURE.convert("1"), "PNG"),
    "L": encoded(PICTURE.convert("L"), "PNG"),
    "LA": encoded(CLEAR.convert("LA"), "PNG"),
    "P": encoded(PICTURE.convert("P"), "GIF"),
    "RGBA": encoded(CLEAR, "PNG"),
    "RGBA in WebP": encoded(CLEAR, "WEBP", lossless=True),
    "CMYK": encoded(PICTURE.convert("CMYK"), "TIFF"),
    "CMYK with a profile": encoded(PICTURE.convert("CMYK"), "JPEG", icc_profile=cmyk_profile(60)),
    "YCbCr": encoded(PICTURE.convert("YCbCr"), "TIFF"),
    "LAB": encoded(Image.new("LAB", PICTURE.size, (150, 20, 30)), "TIFF"),
    "I;16": encoded(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG"),
    "I": encoded(Image.fromarray(GREY.astype(np.int32) * 257), "TIFF"),
    "F": encoded(Image.fromarray(GREY.astype(np.float32) / 255), "TIFF"),
    "Display P3": encoded(PICTURE, "JPEG", quality=95, **P3),
    "Display P3 and turned": encoded(PICTURE, "JPEG", quality=95, exif=TURNED, **P3),
    "turned TIFF": encoded(PICTURE, "TIFF", exif=TURNED),
    "turned WebP": encoded(PICTURE, "WEBP", lossless=True, exif=TURNED),
    "no end mark": encoded(PICTURE, "JPEG")[:-2],
    "AVIF": encoded(PICTURE, "AVIF"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", [24, 100])
def test_every_reader_of_a_photo_sees_the_same_picture(name: str, size: int, tmp_path: Path) -> None:
    data = FILES[name]
    expected = decode(data)
    (tmp_path / "photo.jpg").write_bytes(data)
    expected.save(tmp_path / "decoded.png")
    checked = check_photos(tmp_path.resolve(), 10**6, ["photo.jpg", "decoded.png"])
    assert checked.faults == [None, None]
    hashed = next(value for value in vars(checked).values() if isinstance(value, np.ndarray)).astype(int)
    assert np.abs(hashed[0] - hashed[1]).mean() <= 2
    small = np.asarray(expected.resize((9, 9), Image.Resampling.HAMMING)).astype(int)
    assert small.std() > 10 or name == "LAB"

    stored = store_photo(data, size, 95)
    shown = decode(stored.data)
    assert shown.size == (stored.width, stored.height)
    assert min(shown.size) == min(size, 60)
    assert (shown.width > shown.height) == (expected.width > expected.height)
    thumbnail = decode(b64decode(data_uri(data).partition(",")[2]))
    for seen in (shown, thumbnail):
        assert np.abs(np.asarray(seen.resize((9, 9), Image.Resampling.HAMMING)) - small).mean() <= 3


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_copied_only_if_any_program_shows_it_alike(name: str) -> None:
    stored = store_photo(FILES[name], 100, 95)
    assert stored.passed_through == (name in ("RGB", "L"))
    opened = Image.open(io.BytesIO(stored.data))
    assert not opened.info.get("icc_profile") and opened.getexif().get(0x0112, 1) == 1
    assert read_photo(stored.data).is_plain


@pytest.mark.parametrize("size", [24, 100])
def test_an_ignored_profile_is_not_stored_and_never_converted_later(size: int) -> None:
    red = Image.new("RGB", (60, 60), (200, 40, 40))
    data = encoded(red, "JPEG", quality=100, icc_profile=rgb_profile("Adobe RGB"))
    for convert, level in ((False, 200), (True, 233)):
        stored = store_photo(data, size, 100, convert)
        assert b"ICC_PROFILE" not in stored.data
        assert abs(int(np.asarray(decode(stored.data))[5, 5, 0]) - level) <= 3


@pytest.mark.parametrize("convert", [True, False])
def test_the_check_compares_photos_in_the_colours_that_the_shards_store(convert: bool, tmp_path: Path) -> None:
    red = Image.new("RGB", (60, 60), (200, 40, 40))
    (tmp_path / "profile.png").write_bytes(encoded(red, "PNG", **P3))
    (tmp_path / "plain.png").write_bytes(encoded(red, "PNG"))
    checked = check_photos(tmp_path.resolve(), 10**6, ["profile.png", "plain.png"], convert_profile=convert)
    stored = [
        decode(store_photo((tmp_path / name).read_bytes(), 24, 100, convert).data)
        for name in ("profile.png", "plain.png")
    ]
    assert np.array_equal(*checked.thumbnails) is np.array_equal(*map(np.asarray, stored)) is not convert
