"""Thumbnails: small, upright, on white, one a product."""

from base64 import b64decode
from io import BytesIO

import polars as pl
import pytest
from PIL import Image

from pipeline_lib.artifacts import paths
from pipeline_lib.report.photos import SIDE, Thumbnails, data_uri


def opened(uri: str) -> Image.Image:
    with Image.open(BytesIO(b64decode(uri.removeprefix("data:image/jpeg;base64,")))) as picture:
        picture.load()
        return picture


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    stream = BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("size", "small"), [((400, 200), (SIDE, SIDE // 2)), ((60, 90), (60, 90)), ((1, 900), (1, SIDE))]
)
def test_pictures_shrink_in_proportion_and_never_grow(size, small):
    assert opened(data_uri(encoded(Image.new("RGB", size, "red"), "PNG"))).size == small


def test_a_rotated_photo_becomes_upright():
    exif = Image.Exif()
    exif[274] = 6  # to be shown rotated by 90 degrees
    assert opened(data_uri(encoded(Image.new("RGB", (80, 40)), "JPEG", exif=exif))).size == (40, 80)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "CMYK", "1"])
def test_every_mode_becomes_a_jpeg_and_transparency_becomes_white(mode):
    kind = "TIFF" if mode == "CMYK" else "PNG"
    picture = opened(data_uri(encoded(Image.new("RGBA", (20, 20), (0, 0, 0, 0)).convert(mode), kind)))
    assert picture.mode == "RGB"
    if "A" in mode:
        assert picture.getpixel((9, 9)) == (255, 255, 255)


def test_thumbnails_are_the_product_s_own_first_photo(make_run):
    run = make_run()
    photos = Thumbnails(run.root / paths.SHARDS, pl.read_parquet(run.root / paths.CATALOGUE / "products.parquet"))
    own, other = (run.root / run.products[i][1] for i in (44, 45))
    assert photos.of("p0044") == data_uri(own.read_bytes()) != data_uri(other.read_bytes())
    with pytest.raises(ValueError, match="'nobody' has no photo"):
        photos.of("nobody")
