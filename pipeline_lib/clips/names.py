"""Which media are clips: by the ending of the name, and for pictures that may move by what is in the file.

A gif, webp, png or avif is a clip only if it holds more than one picture; otherwise it stays a photo.
"""

import re
import warnings
from pathlib import Path, PurePosixPath

from PIL import Image

VIDEO_EXTENSIONS = frozenset(
    [
        ".3g2",
        ".3gp",
        ".asf",
        ".avi",
        ".flv",
        ".m2ts",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".ogv",
        ".ts",
        ".webm",
        ".wmv",
    ]
)
# Pictures that may move.
ANIMATION_EXTENSIONS = frozenset({".apng", ".avif", ".gif", ".png", ".webp"})
# Sites give out videos under the name of a gif: ISO media other than a still picture, Matroska, AVI.
VIDEO_START = re.compile(rb"....ftyp(?!avif|avis|mif1|msf1|hei[cx]|hev[cx])|\x1aE\xdf\xa3|RIFF....AVI ", re.DOTALL)
ANIMATED_FORMATS = ("GIF", "PNG", "WEBP", "AVIF")


def is_video(name: str) -> bool:
    """Return whether a media name is that of a video, whatever is in the file.

    >>> is_video("clips/a.MP4"), is_video("a.gif"), is_video("train.tsv#7:1200")
    (True, False, False)
    """
    return PurePosixPath(name).suffix.lower() in VIDEO_EXTENSIONS


def may_be_clip(name: str) -> bool:
    """Return whether a media name is that of a video or of a picture that may move."""
    return PurePosixPath(name).suffix.lower() in VIDEO_EXTENSIONS | ANIMATION_EXTENSIONS


def is_animated(file: Path) -> bool:
    """Return whether a picture file holds more than one picture, or is a video; False if it is broken."""
    with file.open("rb") as stream:
        if VIDEO_START.match(stream.read(12)):
            return True
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(file, formats=ANIMATED_FORMATS) as image:
            return bool(getattr(image, "is_animated", False))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False  # the check of photos says what is wrong with it
