"""What the file of an animated picture says of all its frames: its colour profile, and how it must be turned.

FFmpeg gives both with some frames only. PyAV ends the process when it reads them from a PNG (it frees the profile's
name twice), and knows no EXIF blocks.
"""

import warnings
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from pipeline_lib.clips.names import ANIMATED_FORMATS
from pipeline_lib.transforms.decode import orientation

# a, b, c and d of a display matrix for each orientation of EXIF
MATRICES = {
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}

Matrix = tuple[int, int, int, int]


class Header(NamedTuple):
    """The colour profile and the display matrix (a, b, c, d) of all frames; None if they are sRGB, and upright."""

    profile: bytes | None
    matrix: Matrix | None


def read_header(file: Path, convert_profile: bool) -> Header:
    """Return the header of a picture, without its profile unless `convert_profile`; an empty one for a video."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(file, formats=ANIMATED_FORMATS) as image:
            profile = image.info.get("icc_profile") if convert_profile else None
            return Header(profile, MATRICES.get(orientation(image)))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return Header(None, None)  # FFmpeg says what is wrong with it
