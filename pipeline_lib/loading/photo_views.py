"""Photos of the shards as the uint8 pixels of one view, decoded in the process that asks for them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline_lib.loading.view_cache import ViewCache
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.transforms.decode import decode
from pipeline_lib.transforms.formats import BadPhotoError
from pipeline_lib.transforms.image import AFTER_FIXED, FROM_PHOTO, Pixels, fixed_view
from pipeline_lib.transforms.resizing import SHORTEST, Resizing

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class PhotoViews:
    """Photos of the shards as uint8 pixels (batch, 3, size, size) of one view.

    The memory format is channels_last, which convolutions prefer. With a cache, a photo whose view starts from the
    fixed view is decoded once.
    """

    reader: ShardReader
    size: int
    view: str = "none"
    crop_scale: float = 1.0
    cache: ViewCache | None = None
    resizing: Resizing = SHORTEST

    def load(self, rows: Rows, seeds: Iterable[tuple[int, ...]]) -> torch.Tensor:
        """Return the views of manifest rows; each photo has its own seed."""
        after_fixed = AFTER_FIXED.get(self.view)
        fixed = {int(row): self.cache.get(int(row)) if self.cache and after_fixed else None for row in rows}
        missing = [row for row, pixels in fixed.items() if pixels is None]
        encoded = dict(zip(missing, self.reader.read_all(missing), strict=True))
        # Views of the same photo are neighbours in a batch, so the last decoded image is enough to decode it once.
        views: list[Pixels] = []
        last: tuple[int, Image.Image] | None = None
        for row, seed in zip(map(int, rows), seeds, strict=True):
            if after_fixed:
                pixels = fixed[row]
                if pixels is None:
                    pixels = fixed[row] = self._fixed(row, encoded[row])
                view = after_fixed(pixels, seed)
            else:
                if last is None or last[0] != row:
                    last = row, self._decoded(row, encoded[row])
                view = FROM_PHOTO[self.view](last[1], self.size, np.random.default_rng(seed), self.crop_scale)
            views.append(view.transpose(1, 2, 0))
        return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2)

    def _decoded(self, row: int, encoded: bytes) -> Image.Image:
        try:
            return decode(encoded, self.size)
        except BadPhotoError as error:
            raise self.reader.damaged(row, str(error)) from error

    def _fixed(self, row: int, encoded: bytes) -> Pixels:
        pixels = fixed_view(self._decoded(row, encoded), self.size, self.resizing)
        if self.cache:
            self.cache.put(row, pixels)
        return pixels
