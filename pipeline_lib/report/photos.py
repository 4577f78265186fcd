"""Thumbnails of products, which are embedded in the page."""

from base64 import b64encode
from io import BytesIO
from pathlib import Path

import polars as pl
from PIL import Image

from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.transforms.decode import decode

SIDE = 112
QUALITY = 80


class Thumbnails:
    """A photo of each product as a JPEG data URI of at most SIDE pixels, encoded at the first access and cached.

    It is the first photo, or the middle frame of a clip. `products` (product_id, media) tells which are clips: those
    with more photos than media.
    """

    def __init__(self, shards: Path, products: pl.DataFrame) -> None:
        self._manifest = Manifest(shards)
        self._reader = ShardReader(self._manifest)
        self._num_media = dict(products.select("product_id", pl.col("media").list.len()).iter_rows())
        self._uris: dict[str, str] = {}

    def of(self, product_id: str) -> str:
        """Return the data URI of a product's photo; ValueError for a product that the shards do not hold."""
        if product_id not in self._uris:
            frames = self.frames(product_id)
            photo = self.read(frames[len(frames) // 2]) if frames else self.encoded(product_id)
            self._uris[product_id] = data_uri(photo)
        return self._uris[product_id]

    def encoded(self, product_id: str) -> bytes:
        """Return the stored bytes of a product's first photo; ValueError as `of`."""
        return self.read(self._manifest.photos_of(product_id)[0])

    def frames(self, product_id: str) -> range:
        """Return the rows of a clip's frames in their order, none of a product of photos; ValueError as `of`."""
        rows = self._manifest.photos_of(product_id)
        # A product without media has one black photo.
        return rows if len(rows) > max(1, self._num_media.get(product_id, len(rows))) else range(0)

    def read(self, row: int) -> bytes:
        """Return the stored bytes of one photo."""
        return self._reader.read(row)


def data_uri(photo: bytes) -> str:
    """Return an encoded image as a data URI of a small upright JPEG; transparency becomes white."""
    image = decode(photo, SIDE)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    packed = BytesIO()
    image.save(packed, "JPEG", quality=QUALITY, optimize=True)
    return packed_uri(packed)


def packed_uri(packed: BytesIO) -> str:
    """Return a JPEG in memory as a data URI."""
    return f"data:image/jpeg;base64,{b64encode(packed.getvalue()).decode('ascii')}"
