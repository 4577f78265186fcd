"""Animated webp, which FFmpeg does not read and Pillow does."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from pipeline_lib.artifacts.messages import one_line
from pipeline_lib.clips.header import Header
from pipeline_lib.clips.pixels import Picture, in_srgb, on_white, turned
from pipeline_lib.clips.sampling import Indexes, Times
from pipeline_lib.clips.structure import missing_bytes
from pipeline_lib.transforms.formats import BadPhotoError

FRAME = b"ANMF"
DURATION = slice(20, 23)  # of a frame's chunk, in milliseconds
# What browsers take for a frame without a duration, in seconds.
NO_DURATION = 0.1

Taken = TypeVar("Taken")


def is_webp(file: Path) -> bool:
    """Return whether a file is a webp, by its first bytes."""
    with file.open("rb") as stream:
        start = stream.read(12)
    return start[:4] == b"RIFF" and start[8:] == b"WEBP"


def webp_times(data: bytes) -> Times:
    """Return the time of each frame of an animated webp, and the end of the last one, in seconds."""
    durations, at = [], 12
    while at + 8 <= len(data):
        if data[at : at + 4] == FRAME:
            milliseconds = int.from_bytes(data[at : at + 24][DURATION], "little")
            durations.append(milliseconds / 1000 or NO_DURATION)
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    return np.append(0.0, np.cumsum(durations or [NO_DURATION]))


def read_webp(
    file: Path,
    header: Header,
    choose: Callable[[Times, float], Indexes],
    max_pixels: float,
    take: Callable[[Picture], Taken],
) -> tuple[list[Taken], Times, Indexes, float]:
    """Return `take` of the frames that `choose` names by the times, all times (s), those names, and the end.

    Raises BadPhotoError if the file is truncated, cannot be decoded, or has more than `max_pixels` pixels.
    """
    if missing := missing_bytes(file):
        raise BadPhotoError("truncated clip", f"{missing:,} bytes are missing behind those that there are")
    times = webp_times(file.read_bytes())
    chosen = choose(times[:-1], float(times[-1]))
    taken: list[Taken] = []
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(file, formats=("WEBP",)) as image:
            if image.width * image.height > max_pixels:
                raise BadPhotoError("too many pixels", f"{image.width} x {image.height}")
            for number in chosen.tolist():
                image.seek(number)
                pixels = on_white(in_srgb(np.asarray(image.convert("RGBA")), header.profile))
                upright = pixels if header.matrix is None else turned(pixels, header.matrix)
                taken.append(take(Picture(upright, upright.shape[1], upright.shape[0])))
    except Image.DecompressionBombError as error:  # Pillow's own limit, which may be below max_pixels
        raise BadPhotoError("too many pixels", one_line(error)) from None
    except (OSError, EOFError, SyntaxError) as error:
        raise BadPhotoError("unreadable clip", one_line(error)) from None
    return taken, times[:-1], chosen, float(times[-1])
