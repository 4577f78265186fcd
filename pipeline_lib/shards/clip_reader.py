"""One clip of the raw data -> the JPEGs of its frames, and what the catalogue needs to know of it."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pipeline_lib.catalogue.media import locate_file
from pipeline_lib.catalogue.photos import fault_of
from pipeline_lib.catalogue.thumbnails import WORK_SIDE, thumbnail
from pipeline_lib.clips.names import is_animated, is_video
from pipeline_lib.clips.pixels import Picture
from pipeline_lib.clips.read import read_clip
from pipeline_lib.params.frames import FramesParams
from pipeline_lib.shards.photo import StoredPhoto, store_pixels
from pipeline_lib.transforms.formats import BadPhotoError

# Shorter side in pixels of the frames side by side from which a thumbnail is made.
SHEET_SIDE = 2 * WORK_SIDE


@dataclass(frozen=True)
class ReadClip:
    """The stored frames of a clip with their times (s), or the reason and value why there are none.

    `content` is the hash of the file, empty if it cannot be opened. A note is about a clip that is used nevertheless.
    """

    media: str
    content: str
    frames: list[StoredPhoto]
    times: list[float]
    duration: float | None = None
    fault: tuple[str, str] | None = None
    note: tuple[str, str] | None = None
    thumbnail: bytes | None = None


@dataclass(frozen=True)
class ClipReader:
    """Reads a clip by its media name in a worker process; `root` and the folders `linked` are resolved paths.

    With `convert_profile` the colours of an embedded profile become sRGB, as those of photos do.
    """

    root: Path
    frames: FramesParams
    size: int
    quality: int
    max_pixels: int
    linked: tuple[Path, ...] = ()
    convert_profile: bool = True

    def __call__(self, media: str) -> ReadClip | None:
        """Return the frames of a clip, or its fault; None for a picture that does not move."""
        content = ""
        try:
            file, _ = locate_file(self.root, media, self.linked)
            if not is_video(media) and not is_animated(file):
                return None
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
            clip = read_clip(file, self.frames, self.max_pixels, self._taken, self.convert_profile)
        except (OSError, BadPhotoError) as error:
            if not is_video(media) and not content:
                return None  # the check of photos gives the reason
            fault = fault_of(error) if isinstance(error, OSError) else error
            return ReadClip(media, content, [], [], fault=(fault.reason, fault.value))
        stored, small = zip(*clip.taken, strict=True)
        note = clip.notes[0] if clip.notes else None
        sheet = thumbnail(contact_sheet(small)).tobytes()
        return ReadClip(media, content, list(stored), clip.times, clip.duration, note=note, thumbnail=sheet)

    def _taken(self, picture: Picture) -> tuple[StoredPhoto, Image.Image]:
        """Return a frame as it is stored, and a small copy of it."""
        stored = store_pixels(picture.pixels, (picture.width, picture.height), self.size, self.quality)
        image = Image.fromarray(picture.pixels)
        image = image.reduce(max(1, min(image.size) // SHEET_SIDE))
        shape = _fitted(picture.width, picture.height, SHEET_SIDE)
        return stored, image.resize(shape, Image.Resampling.BICUBIC)


def contact_sheet(frames: Sequence[Image.Image]) -> Image.Image:
    """Return frames side by side in rows, each in the shape of the first, so that their order shows.

    >>> contact_sheet([Image.new("RGB", (256, 256)) for _ in range(12)]).size
    (344, 258)
    """
    columns = math.ceil(math.sqrt(len(frames)))
    rows = math.ceil(len(frames) / columns)
    width, height = _fitted(*frames[0].size, math.ceil(SHEET_SIDE / rows))
    sheet = Image.new("RGB", (columns * width, rows * height))
    for number, frame in enumerate(frames):
        place = (number % columns * width, number // columns * height)
        sheet.paste(frame.resize((width, height), Image.Resampling.HAMMING), place)
    return sheet


def _fitted(width: int, height: int, side: int) -> tuple[int, int]:
    """Return the shape with `side` pixels on the shorter side and at most 8 times as many on the longer one."""
    shorter = min(width, height)
    return (min(8 * side, round(width * side / shorter)), min(8 * side, round(height * side / shorter)))
