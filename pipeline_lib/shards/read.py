"""Encoded photos out of the tars, by row; in order, webdataset reads the same tars.

A read opens, reads at the offset and closes (4 microseconds): no state to break under fork, pickling or threads, and
no limit on the number of tars. From a URL the photos of a batch are asked for all at once, each by its range of bytes.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline_lib.artifacts.remote import copy_of, read_ranges
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.write import MANIFEST


def open_shards(folder: Path, url: str | None) -> "ShardReader":
    """Open the shards of a folder, or at a URL that holds the same manifest; ValueError where it is another."""
    return ShardReader(Manifest(copy_of(folder, url, [MANIFEST])))


class ShardReader:
    """Random access to the photos of a manifest."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    def __len__(self) -> int:
        return len(self.manifest)

    def read(self, row: int) -> bytes:
        """Return the encoded image of one row; ValueError if its tar is gone or shorter than it was."""
        tar = int(self.manifest.tar[row])
        path = self.manifest.tars[tar]
        if not isinstance(path, Path):
            return self._read_away([row])[0]
        file = self._open(path)
        try:
            return self._whole(os.pread(file, int(self.manifest.size[row]), int(self.manifest.offset[row])), row)
        finally:
            os.close(file)

    def read_all(self, rows: Iterable[int]) -> Iterator[bytes]:
        """Yield the encoded images of `rows` in their order; raises as `read`, OSError where a URL is not reached."""
        if isinstance(self.manifest.place, Path):
            yield from map(self.read, rows)
        else:
            yield from self._read_away(list(rows))

    def _open(self, path: Path) -> int:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ValueError(f"{path}: gone since the manifest was read; run `dvc repro shards`") from None

    def _read_away(self, rows: list[int]) -> list[bytes]:
        about = self.manifest
        urls = [str(about.tars[about.tar[row]]) for row in rows]
        found = read_ranges(urls, about.offset[rows].tolist(), about.size[rows].tolist())
        return [self._whole(data, row) for data, row in zip(found, rows, strict=True)]

    def _whole(self, data: bytes, row: int) -> bytes:
        if len(data) != self.manifest.size[row]:
            tar = self.manifest.tars[self.manifest.tar[row]]
            raise ValueError(f"{tar}: cut off inside photo {row}; run `dvc repro shards`")
        return data
