"""Decoded fixed views, kept from epoch to epoch and shared with the worker processes that decode.

They lie in an anonymous file in memory (memfd), which a forked worker inherits and a spawned one is sent. A picture is
written and read by one call each, its last byte saying that all of it is there, so nobody locks and nobody sees half
of one. Room is taken only when a picture is written; what is over the limit is decoded again each time.
"""

import os
import weakref
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
GB = 10**9
WHOLE = b"\x01"


class ViewCache:
    """Views uint8 (size, size, 3) of manifest rows, of the first ones if all take more than `limit` bytes."""

    def __init__(self, rows: NDArray[np.int64], size: int, limit: float) -> None:
        self.size = size
        self.record = 3 * size * size + len(WHOLE)
        kept = np.unique(rows)[: int(limit // self.record)]
        self.count = len(kept)
        self._slot = np.full(int(kept[-1]) + 1 if len(kept) else 0, -1, dtype=np.int64)
        self._slot[kept] = np.arange(len(kept))
        self._hold(os.memfd_create("views"))

    def _hold(self, file: int) -> None:
        self._file = file
        weakref.finalize(self, os.close, file)

    @property
    def bytes(self) -> int:
        """Memory that it takes once every row has been seen."""
        return self.count * self.record

    def get(self, row: int) -> Pixels | None:
        """Return a view that was put, by whichever process, or None."""
        place = self._place(row)
        if place is None:
            return None
        data = os.pread(self._file, self.record, place)
        if data[-1:] != WHOLE or len(data) != self.record:
            return None
        return np.frombuffer(data, np.uint8, self.record - len(WHOLE)).reshape(self.size, self.size, 3)

    def put(self, row: int, view: Pixels) -> None:
        """Keep a view, if its row has a place."""
        place = self._place(row)
        if place is not None:
            assert view.shape == (self.size, self.size, 3) and view.dtype == np.uint8, (view.shape, view.dtype)
            os.pwrite(self._file, view.tobytes() + WHOLE, place)

    def _place(self, row: int) -> int | None:
        slot = int(self._slot[row]) if row < len(self._slot) else -1
        return slot * self.record if slot >= 0 else None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_file": DupFd(self._file)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        file = state.pop("_file").detach()
        vars(self).update(state)
        self._hold(file)
