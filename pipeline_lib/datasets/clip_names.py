"""Finds the files of clips by the names of a table, which often leave out the ending or the folder."""

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from pipeline_lib.artifacts.path_guard import is_inner
from pipeline_lib.catalogue.strings import clean_string
from pipeline_lib.clips.names import ANIMATION_EXTENSIONS, VIDEO_EXTENSIONS
from pipeline_lib.datasets.image_index import list_images

CLIP_ENDINGS = VIDEO_EXTENSIONS | (ANIMATION_EXTENSIONS - {".png", ".avif"})
# Where clips are, beside data.image_folder: the folders of MSR-VTT.
FOLDERS = ("videos/all", "videos", "MSRVTT_Videos")
DEFAULT_ENDING = ".mp4"


def clip_folder(root: Path, image_folder: str) -> str:
    """Return the folder of the clips inside the root: of the image folder and FOLDERS the first one with clips in it.

    Videos come before pictures that may move. If there is neither, it is the image folder.
    """
    folders = [(name, endings) for endings in (VIDEO_EXTENSIONS, CLIP_ENDINGS) for name in (image_folder, *FOLDERS)]
    return next((name for name, endings in folders if list_images(root / name, endings)), image_folder)


def with_endings(names: Iterable[str], root: Path, folder: str) -> list[str]:
    """Return the names with the ending of the file that has this name in the folder or in the root.

    A name that has the ending of a clip remains as it is; one without a file gets DEFAULT_ENDING. Each folder is listed
    once. Of several files of one name the first in order is taken.
    """
    listed: dict[str, dict[str, str]] = {}
    found = []
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.suffix.lower() in CLIP_ENDINGS:
            found.append(name)
            continue
        parent = str(path.parent)
        if parent not in listed:
            safe = is_inner(parent)
            listed[parent] = _endings(root / parent) | _endings(root / folder / parent) if safe else {}
        found.append(name + listed[parent].get(clean_string(path.name), DEFAULT_ENDING))
    return found


def _endings(folder: Path) -> dict[str, str]:
    """Return stem -> ending of the clips of a folder."""
    names = sorted(os.listdir(folder), reverse=True) if folder.is_dir() else []  # noqa: PTH208 - a str for each file
    parts = (os.path.splitext(name) for name in names)  # noqa: PTH122 - faster
    return {clean_string(stem): ending for stem, ending in parts if ending.lower() in CLIP_ENDINGS}
