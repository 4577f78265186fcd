"""Photos of products, read from the shards by product id and number: no path is ever built from a query."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
from PIL import Image

from pipeline_lib.serving.replaced import ReplacedError, state_of
from pipeline_lib.transforms.formats import open_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pipeline_lib.shards.read import ShardReader


class Photo(NamedTuple):
    """An encoded photo and its media type."""

    data: bytes
    media_type: str


class ProductPhotos:
    """The stored photos of all products; `shards` is a folder whose path does not depend on the working directory.

    The manifest says where in the tars a photo is, and it is read once. So a tar is read only while it is the file that
    it was then, or for a URL while the manifest of the folder is.
    """

    def __init__(self, shards: Path, url: str | None) -> None:
        from pipeline_lib.shards.read import open_shards
        from pipeline_lib.shards.write import MANIFEST

        manifest = shards / MANIFEST
        before = state_of(manifest)
        self._reader: ShardReader = open_shards(shards, url)
        # For each tar, the file that changes with it.
        self._beside = [tar if isinstance(tar, Path) else manifest for tar in self._reader.manifest.tars]
        self._states = {path: state_of(path) for path in set(self._beside)}
        if before != state_of(manifest):
            raise ReplacedError("shards")

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
        """Return a photo by its number from 0; None if the product has no such photo.

        Raises ReplacedError if the shards are no longer those that were opened, else errors as `ShardReader.read_all`.
        """
        rows = self._rows(product_id)
        if not 0 <= number < len(rows):
            return None
        data = self._data(rows[number])
        with open_image(data) as image:
            return Photo(data, Image.MIME[str(image.format)])

    def _data(self, row: int) -> bytes:
        """Return an encoded photo; its tar is compared after the read, which a replaced one may have come before."""
        path = self._beside[self._reader.manifest.tar[row]]
        try:
            data = self._reader.read(row)
        except (ValueError, OSError):
            self._check_same(path)
            raise
        self._check_same(path)
        return data

    def _check_same(self, path: Path) -> None:
        if state_of(path) != self._states[path]:
            raise ReplacedError("shards")

    def _rows(self, product_id: str) -> range:
        try:
            return self._reader.manifest.photos_of(product_id)
        except ValueError:  # a product without a photo
            return range(0)
