"""Photos of products, read from the shards by product id and number: no path is ever built from a query."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
from PIL import Image

from pipeline_lib.transforms.formats import open_image

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

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

    def counts(self, product_ids: Sequence[str]) -> NDArray[np.int32]:
        """Return the number of photos of each product, 0 for one without."""
        manifest = self._reader.manifest
        known = pl.DataFrame({"id": manifest.product_ids.tolist(), "photos": np.diff(manifest.first).astype(np.int32)})
        asked = pl.DataFrame({"id": list(product_ids)}, schema={"id": pl.String})
        counts: NDArray[np.int32] = (
            asked.join(known, on="id", how="left", maintain_order="left")["photos"].fill_null(0).to_numpy()
        )
        return counts

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
