"""Reads encoded photos from the tars by row; webdataset can stream the same tars.

Each read opens the tar, reads at the offset and closes it (4 microseconds). So there is no state that fork, pickling or
threads could break, and no limit on the number of tars. From a URL, all photos of a batch are requested at once, by
ranges of bytes that neighbours in a tar share.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline_lib.artifacts.read import damaged
from pipeline_lib.artifacts.remote import read_ranges, verified_location
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.write import MANIFEST


def open_shards(folder: Path, url: str | None) -> "ShardReader":
    """Open the shards of a folder, or at a URL with the same manifest; ValueError if the manifest differs."""
    return ShardReader(Manifest(verified_location(folder, url, [MANIFEST])))


class ShardReader:
    """Random access to the photos of a manifest."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    def __len__(self) -> int:
        return len(self.manifest)

    def read(self, row: int) -> bytes:
        """Return the encoded image of one row; ValueError if its tar is missing or truncated."""
        tar = int(self.manifest.tar[row])
        path = self.manifest.tars[tar]
        if not isinstance(path, Path):
            return self._read_remote([row])[0]
        file = self._open(path)
        try:
            return self._checked(os.pread(file, int(self.manifest.size[row]), int(self.manifest.offset[row])), row)
        finally:
            os.close(file)

    def read_all(self, rows: Iterable[int]) -> Iterator[bytes]:
        """Yield the encoded images of `rows` in order; raises as `read`, OSError for a URL that cannot be reached."""
        if isinstance(self.manifest.location, Path):
            yield from map(self.read, rows)
        else:
            yield from self._read_remote(list(rows))

    def damaged(self, row: int, reason: str) -> ValueError:
        """Return the error for a photo that cannot be decoded, which names its tar."""
        return damaged(self.manifest.tars[self.manifest.tar[row]], f"photo {row}: {reason}")

    def _open(self, path: Path) -> int:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ValueError(f"{path}: missing since the manifest was read; run `dvc repro shards`") from None

    def _read_remote(self, rows: list[int]) -> list[bytes]:
        about = self.manifest
        urls = [str(about.tars[about.tar[row]]) for row in rows]
        found = read_ranges(urls, about.offset[rows].tolist(), about.size[rows].tolist())
        return [self._checked(data, row) for data, row in zip(found, rows, strict=True)]

    def _checked(self, data: bytes, row: int) -> bytes:
        if len(data) != self.manifest.size[row]:
            tar = self.manifest.tars[self.manifest.tar[row]]
            raise ValueError(f"{tar}: truncated inside photo {row}; run `dvc repro shards`")
        return data
