import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline_lib.shards import photo
from pipeline_lib.shards.photo import black_photo, store_photo
from pipeline_lib.transforms.decode import decode


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def gradient(width: int, height: int) -> Image.Image:
    across, down = np.linspace(0, 200, width), np.linspace(0, 55, height)
    pixels = np.stack([np.add.outer(down, across)] * 3, axis=-1) * (1, 0.8, 0.5)
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.mark.parametrize(
    ("kind", "mode", "extension"),
    [("JPEG", "RGB", "jpg"), ("JPEG", "L", "jpg"), ("PNG", "RGB", "png"), ("PNG", "L", "png"), ("WEBP", "RGB", "webp")],
)
def test_a_small_file_is_stored_byte_for_byte(kind: str, mode: str, extension: str) -> None:
    data = encoded(gradient(50, 32).convert(mode), kind)
    stored = store_photo(data, 32, 90)
    assert stored.data == data
    assert (stored.extension, stored.width, stored.height, stored.passed_through) == (extension, 50, 32, True)


def rotated(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(gradient(50, 30), "JPEG", exif=exif)


def test_a_file_with_an_upright_exif_block_is_stored_unchanged() -> None:
    assert store_photo(rotated(1), 32, 90).data == rotated(1)


MUST_ENCODE = {
    "shorter side above the size": encoded(gradient(40, 33), "JPEG"),
    "rotated": rotated(6),
    "CMYK": encoded(gradient(30, 30).convert("CMYK"), "JPEG"),
    "alpha": encoded(gradient(30, 30).convert("RGBA"), "PNG"),
    "alpha in WebP": encoded(Image.new("RGBA", (30, 30), (9, 9, 9, 100)), "WEBP"),
    "transparent colour": encoded(gradient(30, 30), "PNG", transparency=(0, 0, 0)),
    "palette": encoded(gradient(30, 30).convert("P"), "PNG"),
    "one bit": encoded(gradient(30, 30).convert("1"), "PNG"),
    "16 bit": encoded(Image.new("I;16", (30, 30), 40000), "PNG"),
    "other format": encoded(gradient(30, 30), "BMP"),
    "GIF": encoded(gradient(30, 30), "GIF"),
    "animated PNG": encoded(
        gradient(30, 30), "PNG", save_all=True, append_images=[Image.new("RGB", (30, 30))], duration=100
    ),
    "animated WebP": encoded(
        gradient(30, 30), "WEBP", save_all=True, append_images=[Image.new("RGB", (30, 30))], duration=100
    ),
}


@pytest.mark.parametrize("name", MUST_ENCODE)
def test_any_other_file_becomes_a_small_upright_jpeg(name: str) -> None:
    data = MUST_ENCODE[name]
    stored = store_photo(data, 32, 95)
    image = Image.open(io.BytesIO(stored.data))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (stored.width, stored.height))
    assert stored.extension == "jpg"
    assert not stored.passed_through
    assert min(image.size) <= 32
    expected = decode(data).resize(image.size, Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(image).astype(int) - np.asarray(expected)).mean() < 3


def test_a_rotated_photo_is_stored_upright_without_exif() -> None:
    stored = store_photo(rotated(6), 32, 95)
    assert (stored.width, stored.height) == (30, 50)
    assert decode(stored.data).size == (30, 50)


@settings(max_examples=60)
@given(width=st.integers(1, 900), height=st.integers(1, 900), size=st.integers(1, 128))
def test_the_shorter_side_gets_the_size_and_the_aspect_ratio_stays(width: int, height: int, size: int) -> None:
    stored = store_photo(encoded(Image.new("RGB", (width, height)), "JPEG"), size, 80)
    if min(width, height) <= size:
        assert (stored.width, stored.height) == (width, height)
    else:
        assert min(stored.width, stored.height) == size
        longer = max(width, height) * size / min(width, height)
        assert max(stored.width, stored.height) == max(size, round(longer))


def test_chroma_is_not_subsampled() -> None:
    image = Image.open(io.BytesIO(store_photo(encoded(gradient(200, 200), "JPEG"), 64, 90).data))
    assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


def test_a_reduced_jpeg_is_close_to_the_full_image_resized() -> None:
    data = encoded(gradient(1600, 1200), "JPEG", quality=95)
    stored = store_photo(data, 60, 95)
    full = Image.open(io.BytesIO(data)).resize((80, 60), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(decode(stored.data)).astype(int) - np.asarray(full)).mean() < 1.5


def test_an_image_too_long_for_a_jpeg_becomes_a_png() -> None:
    stored = store_photo(encoded(Image.new("P", (70_000, 3)), "PNG"), 2, 90)
    assert (stored.extension, stored.width, stored.height) == ("jpg", 46_667, 2)
    stored = store_photo(encoded(Image.new("P", (70_000, 3)), "PNG"), 3, 90)
    assert (stored.extension, stored.width, stored.height) == ("png", 70_000, 3)
    assert decode(stored.data).size == (70_000, 3)


def test_the_black_photo_is_black() -> None:
    stored = black_photo(24, 90)
    assert np.asarray(decode(stored.data)).max() == 0
    assert (stored.width, stored.height) == (24, 24)


def test_a_truncated_photo_is_refused() -> None:
    data = encoded(gradient(30, 30), "JPEG")
    with pytest.raises(ValueError, match="truncated image: "):
        store_photo(data[:-60], 32, 90)


def test_a_large_image_is_resized_without_a_copy_of_its_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(gradient(480, 320), "PNG")
    usual = store_photo(data, 64, 95)
    monkeypatch.setattr(photo, "LARGE", 100)
    monkeypatch.setattr(photo.Photo, "pixels", None)
    large = store_photo(data, 64, 95)
    assert (large.width, large.height) == (usual.width, usual.height) == (96, 64)
    first, second = (np.asarray(Image.open(io.BytesIO(one.data))).astype(int) for one in (usual, large))
    assert np.abs(first - second).max() <= 4
