"""Tiles of `score_counts` on a GPU by torch: products in full float32, comparisons on the device, counts on the host.

Only the rows and columns of one tile are on the device at a time, so its memory does not grow with the gallery.
"""

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.execution.precision import float32_products
from pipeline_lib.metrics.score_counts import MANY, Found, Matrix, Thresholds, Tile

DEVICE_TILE = (8192, 16384)


class DeviceTiles:
    """Compares tiles on `device`; see `CountTile`."""

    def __init__(self, rows: Matrix, columns: Matrix, thresholds: list[Thresholds], device: str) -> None:
        self.tile = DEVICE_TILE
        self._rows, self._columns, self._thresholds, self._device = rows, columns, thresholds, device
        self._left: tuple[slice, Tensor] | None = None

    def __call__(self, tile: Tile) -> list[Found] | None:
        """Return the counts of the tile; see `CountTile`."""
        rows, columns, skipped = tile
        if self._left is None or self._left[0] != rows:
            self._left = (rows, self._moved(self._rows[rows]))
        with torch.inference_mode(), float32_products("fp32"):
            scores = self._left[1] @ self._moved(self._columns[columns]).T
            scores[self._moved(skipped[0]), self._moved(skipped[1])] = -torch.inf
            found = []
            for axis, (limits, part) in enumerate(zip(self._thresholds, (rows, columns), strict=False)):
                low, high = (self._moved(limit).unsqueeze(1 - axis) for limit in limits.of(part).limits())
                higher, at_least = scores > high, scores >= low
                between = higher ^ at_least
                if int(between.sum()) * MANY > scores.numel():
                    return None
                row, column = between.nonzero(as_tuple=True)
                counts = higher.sum(dim=1 - axis)
                found.append(Found(counts.cpu().numpy(), (row.cpu().numpy(), column.cpu().numpy())))
            return found

    def _moved(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)
