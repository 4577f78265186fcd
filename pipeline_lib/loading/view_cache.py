"""A cache of decoded fixed views that lasts for all epochs and is shared with the worker processes that decode.

The views are in an anonymous in-memory file (memfd). A forked worker inherits it, and a spawned worker receives its
file descriptor. A view is written and read with one system call each, and its last byte marks it as complete. So no
lock is needed, and a reader never gets half a view. Memory is allocated when a view is written. Views over the limit
are decoded again in each epoch.
"""

import os
import weakref
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
GB = 10**9
COMPLETE = b"\x01"


class ViewCache:
    """Views uint8 (size, size, 3) of manifest rows; the first rows only if all take more than `limit` bytes."""

    def __init__(self, rows: NDArray[np.int64], size: int, limit: float) -> None:
        self.size = size
        self.record = 3 * size * size + len(COMPLETE)
        cached = np.unique(rows)[: int(limit // self.record)]
        self.count = len(cached)
        self._slot = np.full(int(cached[-1]) + 1 if len(cached) else 0, -1, dtype=np.int64)
        self._slot[cached] = np.arange(len(cached))
        self._own_file(os.memfd_create("views"))

    def _own_file(self, file: int) -> None:
        """Use this file descriptor, and close it together with the cache."""
        self._file = file
        weakref.finalize(self, os.close, file)

    @property
    def bytes(self) -> int:
        """Memory in bytes once every row is cached."""
        return self.count * self.record

    def get(self, row: int) -> Pixels | None:
        """Return the view of a row that any process has put, or None."""
        offset = self._offset(row)
        if offset is None:
            return None
        data = os.pread(self._file, self.record, offset)
        if data[-1:] != COMPLETE or len(data) != self.record:
            return None
        return np.frombuffer(data, np.uint8, self.record - len(COMPLETE)).reshape(self.size, self.size, 3)

    def put(self, row: int, view: Pixels) -> None:
        """Store a view if its row has a slot."""
        offset = self._offset(row)
        if offset is not None:
            assert view.shape == (self.size, self.size, 3) and view.dtype == np.uint8, (view.shape, view.dtype)
            os.pwrite(self._file, view.tobytes() + COMPLETE, offset)

    def _offset(self, row: int) -> int | None:
        slot = int(self._slot[row]) if row < len(self._slot) else -1
        return slot * self.record if slot >= 0 else None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_file": DupFd(self._file)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        file = state.pop("_file").detach()
        vars(self).update(state)
        self._own_file(file)
