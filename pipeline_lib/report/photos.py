"""Thumbnails of products, which are embedded in the page."""

from base64 import b64encode
from io import BytesIO
from pathlib import Path

from PIL import Image

from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.transforms.decode import decode

SIDE = 112
QUALITY = 80


class Thumbnails:
    """Each product's first photo as a JPEG data URI of at most SIDE pixels, encoded at the first access and cached."""

    def __init__(self, shards: Path) -> None:
        self._manifest = Manifest(shards)
        self._reader = ShardReader(self._manifest)
        self._uris: dict[str, str] = {}

    def of(self, product_id: str) -> str:
        """Return the data URI of a product's first photo; ValueError for a product that the shards do not hold."""
        if product_id not in self._uris:
            self._uris[product_id] = data_uri(self.encoded(product_id))
        return self._uris[product_id]

    def encoded(self, product_id: str) -> bytes:
        """Return the stored bytes of a product's first photo; ValueError as `of`."""
        return self._reader.read(self._manifest.photos_of(product_id)[0])


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
