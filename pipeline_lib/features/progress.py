"""The progress of an extraction: a small file with the number of photos that the unfinished stores have.

It is replaced after the photos of each shard, once they are flushed to disk, and it names the origin of the values. The
next run maps the unfinished matrices, resumes after the last completed shard, and ends with the same bytes as an
uninterrupted run.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.artifacts.io import write_json, writing
from pipeline_lib.artifacts.read import read_object


@dataclass
class Progress:
    """The progress of one store, or of several that are written together.

    path: the progress file, None if nothing is resumed; shards (photos,): the shard of each photo, ascending from 0;
    origin: everything that the stored values depend on.
    """

    path: Path | None
    shards: NDArray[np.integer]
    origin: object
    # The shard of the first photo that is not stored, as of the last save.
    _shard: int = field(default=0, init=False)

    def resume(self, files_exist: Callable[[], bool]) -> int:
        """Return the number of stored photos: 0 if the origin differs or the files are missing.

        A progress file that cannot be used is deleted, before anything is overwritten.
        """
        if self.path is None or not self.path.is_file():
            return 0
        try:
            saved = read_object(self.path, origin=str, photos=int)
        except ValueError as error:
            sys.stderr.write(f"{error}: starting again\n")
            saved = {"origin": None}
        if saved["origin"] == self._digest and files_exist():
            photos = int(saved["photos"])
            self._shard = self._next_shard(photos)
            return photos
        self.path.unlink()
        return 0

    def save(self, photos: int, *flushes: Callable[[], None]) -> None:
        """If a shard was completed since the last save, call `flushes`, then save that `photos` photos are stored."""
        next_shard = self._next_shard(photos)
        if self.path is None or next_shard == self._shard:
            return
        for flush in flushes:
            flush()
        part = self.path.with_name(f"{self.path.name}.part")
        with writing(self.path):
            write_json(part, {"photos": photos, "origin": self._digest})
            with part.open("rb") as stream:
                os.fsync(stream.fileno())
            part.replace(self.path)
        self._shard = next_shard

    def _next_shard(self, photos: int) -> int:
        """Return the shard of the first photo that is not stored."""
        return int(self.shards[photos]) if photos < len(self.shards) else int(self.shards[-1]) + 1

    @property
    def _digest(self) -> str:
        return digest_value(self.origin)
