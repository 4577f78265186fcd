"""Writes one shard: a tar in the WebDataset format, where photo 12 is `000000012.json` and `000000012.jpg`.

Time, owner and mode in the headers are fixed, so equal photos give equal bytes on every machine. The JSON comes before
the image: so the manifest's last offset and size give the length of the tar, and a truncated tar is found at once.
webdataset's own TarWriter takes 1.4 times as long (bench/formats.py), puts the image first and pads the end.
"""

import json
import os
import tarfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from pipeline_lib.catalogue.media import photo_bytes
from pipeline_lib.shards.photo import StoredPhoto, black_photo, store_photo

BLOCK = tarfile.BLOCKSIZE
END_OF_TAR = bytes(2 * BLOCK)


class StoredFrame(NamedTuple):
    """A frame of a clip, whose JPEG is in a tar of the stage frames; `time` in seconds from the first frame on."""

    tar: Path
    offset: int
    size: int
    width: int
    height: int
    frame: int
    time: float


class ShardPhoto(NamedTuple):
    """A photo of a product: its number, the path inside root (None for a black photo), and the frame of a clip."""

    product_id: str
    photo: int
    path: str | None
    frame: StoredFrame | None = None


@dataclass(frozen=True)
class ShardTask:
    """The photos of one tar."""

    tar: Path
    first_row: int
    photos: list[ShardPhoto]


@dataclass(frozen=True)
class ShardRows:
    """Offset and size in bytes of each photo of one tar, and its width and height in pixels."""

    tar: str
    offset: list[int]
    size: list[int]
    width: list[int]
    height: list[int]
    num_passed: int
    num_black: int


@dataclass(frozen=True)
class ShardWriter:
    """Writes the tar of a task in a worker process.

    `stage_pid` is the parent of the workers, or None for workers of a cluster. Links of the root may lead to `linked`.
    """

    root: Path
    size: int
    quality: int
    stage_pid: int | None
    convert_profiles: bool = True
    linked: tuple[Path, ...] = ()

    def __call__(self, task: ShardTask) -> ShardRows:
        """Write one tar; ValueError names a photo that cannot be read, OSError the tar that cannot be written."""
        self._check_stage_lives()  # opening the file would empty the tar of the next run
        rows = ShardRows(task.tar.name, [], [], [], [], 0, 0)
        passed = black = 0
        with _checked_photos(), _named_failure(task.tar), task.tar.open("wb") as stream:
            for row, photo in enumerate(task.photos, task.first_row):
                self._check_stage_lives()
                stored = self._stored(photo)
                about: dict[str, object] = {"product_id": photo.product_id, "photo": photo.photo, "path": photo.path}
                if photo.frame is not None:
                    about |= {"frame": photo.frame.frame, "time": photo.frame.time}
                text = json.dumps(about, ensure_ascii=False, separators=(",", ":")).encode()
                stream.write(tar_member(f"{row:09d}.json", text))
                rows.offset.append(stream.tell() + BLOCK)
                stream.write(tar_member(f"{row:09d}.{stored.extension}", stored.data))
                rows.size.append(len(stored.data))
                rows.width.append(stored.width)
                rows.height.append(stored.height)
                passed += stored.passed_through
                black += photo.path is None
            stream.write(END_OF_TAR)
        return ShardRows(rows.tar, rows.offset, rows.size, rows.width, rows.height, passed, black)

    def _stored(self, photo: ShardPhoto) -> StoredPhoto:
        if photo.path is None:
            return black_photo(self.size, self.quality)
        if photo.frame is not None:
            return copied_frame(photo.frame)
        file = self.root / photo.path
        try:
            data = photo_bytes(self.root, photo.path, self.linked)
            return store_photo(data, self.size, self.quality, self.convert_profiles)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise ValueError(
                f"{file}: photo {photo.photo} of product {photo.product_id!r} changed since the catalogue checked it: "
                f"{why}; run `dvc repro` again"
            ) from error

    def _check_stage_lives(self) -> None:
        """Stop a worker whose stage was killed, because the next run writes into a folder of the same name."""
        if self.stage_pid not in (None, os.getpid(), os.getppid()):
            raise ValueError("the stage of this worker has ended")


def tar_length(last_offset: int, last_size: int) -> int:
    """Return the length in bytes of a tar whose last image has this offset and size."""
    return last_offset + last_size + -last_size % BLOCK + len(END_OF_TAR)


def copied_frame(frame: StoredFrame) -> StoredPhoto:
    """Return a frame as it is in its tar; ValueError if the tar is shorter."""
    with frame.tar.open("rb") as stream:
        stream.seek(frame.offset)
        data = stream.read(frame.size)
    if len(data) != frame.size:
        raise ValueError(f"{frame.tar}: truncated at a frame; run `dvc repro frames`")
    return StoredPhoto(data, "jpg", frame.width, frame.height, passed_through=True)


def tar_member(name: str, data: bytes) -> bytes:
    """Return the header, data and padding of one file in a tar."""
    info = tarfile.TarInfo(name)  # time, owner and group are 0 unless set
    info.size, info.mode = len(data), 0o644
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % BLOCK)


@contextmanager
def _named_failure(tar: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = f"{error.strerror}; make room and run `dvc repro` again, finished stages remain"
        raise OSError(error.errno, f"cannot write the shard: {why}", str(tar)) from error


@contextmanager
def _checked_photos() -> Iterator[None]:
    """Lift Pillow's own limit, because the catalogue applied data.max_pixels; silence warnings on odd metadata."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
