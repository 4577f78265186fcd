"""How far an extraction has come: how many photos a half-written store holds, in a small file that a kill leaves whole.

It is replaced after each shard's photos, once they are on the disk, and says who made them: so the next run maps the
half-written matrices again, goes on behind them, and ends with the bytes of a run that nobody broke.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.artifacts.io import read_json, write_json, writing


@dataclass
class Progress:
    """The mark of one store, or of some that are written together.

    path: the file, None where nothing is to be resumed; shards (photos,): the shard of each photo, ascending; made_by:
    whatever the stored values depend on. Shards are numbered from 0.
    """

    path: Path | None
    shards: NDArray[np.integer]
    made_by: object
    # The shard that the photo behind the last mark lies in.
    _shard: int = field(default=0, init=False)

    def resume(self, holds: Callable[[], bool]) -> int:
        """Return how many photos are stored: none if another encoder made them, or the files are not what `holds` asks.

        What cannot be gone on from is forgotten before anything is written in its place.
        """
        if self.path is None or not self.path.is_file():
            return 0
        kept = read_json(self.path)
        if kept["made_by"] == self._maker and holds():
            photos = int(kept["photos"])
            self._shard = self._reached(photos)
            return photos
        self.path.unlink()
        return 0

    def mark(self, photos: int, *flushes: Callable[[], None]) -> None:
        """Run `flushes`, then remember that the first `photos` photos are stored, if a shard has ended since then."""
        reached = self._reached(photos)
        if self.path is None or reached == self._shard:
            return
        for flush in flushes:
            flush()
        half = self.path.with_name(f"{self.path.name}.part")
        with writing(self.path):
            write_json(half, {"photos": photos, "made_by": self._maker})
            with half.open("rb") as stream:
                os.fsync(stream.fileno())
            half.replace(self.path)
        self._shard = reached

    def _reached(self, photos: int) -> int:
        return int(self.shards[photos]) if photos < len(self.shards) else int(self.shards[-1]) + 1

    @property
    def _maker(self) -> str:
        return digest_value(self.made_by)
