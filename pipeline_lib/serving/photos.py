"""Photos of products, read from the shards by product id and number: no path is ever built from a query."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from pipeline_lib.transforms.formats import open_image

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline_lib.shards.read import ShardReader


class Photo(NamedTuple):
    """An encoded photo and its media type."""

    data: bytes
    media_type: str


class ProductPhotos:
    """The stored photos of all products; `shards` is a folder whose path does not depend on the working directory."""

    def __init__(self, shards: Path, url: str | None) -> None:
        from pipeline_lib.shards.read import open_shards

        self._reader: ShardReader = open_shards(shards, url)

    def count(self, product_id: str) -> int:
        """Return the number of photos of a product, 0 for one without."""
        return len(self._rows(product_id))

    def read(self, product_id: str, number: int) -> Photo | None:
        """Return a photo by its number from 0; None if the product has no such photo."""
        rows = self._rows(product_id)
        if not 0 <= number < len(rows):
            return None
        data = self._reader.read(rows[number])
        with open_image(data) as image:
            return Photo(data, Image.MIME[str(image.format)])

    def _rows(self, product_id: str) -> range:
        try:
            return self._reader.manifest.photos_of(product_id)
        except ValueError:  # a product without a photo
            return range(0)
