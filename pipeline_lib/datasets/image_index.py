"""Finds the photos of products by file name, `<id>.<ext>` or `<id>_*.<ext>`, in one scan of the image folder.

Sub-folders are searched too. A glob for each product would read the folders once per product. If both `a` and `a_1` are
ids, `a_1_2.jpg` belongs to `a_1`. An id with a slash (`shoes/1`) names the folder, so it is tried before the bare name.
If a bare name stands in several folders, all of these files are photos of the product: `same_names` lists them, so that
the run can say so.
"""

import os
import re
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from pipeline_lib.artifacts.path_guard import is_inside, link_targets
from pipeline_lib.transforms.formats import photo_extensions


def list_images(folder: Path, endings: Collection[str] | None = None) -> list[str]:
    """Return the image files of a folder and its sub-folders, as paths relative to it; empty if it does not exist.

    Files are known by one of the `endings`, in any case; unless given, those of images and none at all. The order is
    natural, the files of a folder before its sub-folders. Hidden files and folders are left out. A folder is listed
    once, however many links lead to it; of a link that leaves folder and project only the first level is listed.
    """
    if not folder.is_dir():
        return []
    bare, endings = endings is None, photo_extensions() if endings is None else endings
    safe = (folder.resolve(), *link_targets())
    names: list[str] = []
    listed: set[str] = set()
    folders = deque([""])
    while folders:
        prefix = folders.popleft()
        real = os.path.realpath(folder / prefix)
        if real in listed:
            continue
        listed.add(real)
        goes_deeper = any(is_inside(real, each) for each in safe)
        with os.scandir(folder / prefix) as entries:
            for entry in entries:
                ending = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - faster
                if entry.name.startswith("."):
                    continue
                if ending in endings or (not ending and bare and entry.is_file()):
                    names.append(prefix + entry.name)
                elif goes_deeper and entry.is_dir():
                    # Links last, so that a folder is listed under its own name.
                    (folders.append if entry.is_symlink() else folders.appendleft)(f"{prefix}{entry.name}/")
    return sorted(names, key=_path_key)


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Return a sort key that puts a_2 before a_10.

    >>> sorted(["a_10.jpg", "a.jpg", "a_2.jpg"], key=natural_key)
    ['a.jpg', 'a_2.jpg', 'a_10.jpg']
    """
    parts = re.findall(r"\d+|\D+", stem_of(name))
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts], name


def stem_of(name: str) -> str:
    """Return a path without the ending of its file.

    >>> stem_of("v1.2/a_2.jpg"), stem_of("v1.2/a")
    ('v1.2/a_2', 'v1.2/a')
    """
    folder, slash, file = name.rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)


def assign_images(names: Iterable[str], product_ids: Collection[str]) -> dict[str, list[str]]:
    """Return each product's file names in the order of `names`; a name belongs to the longest matching id."""
    known = set(product_ids)
    images: dict[str, list[str]] = {}
    for name in names:
        folder, slash, stem = stem_of(name).rpartition("/")
        owner = (slash and _owner(folder + slash, stem, known)) or _owner("", stem, known)
        if owner:
            images.setdefault(owner, []).append(name)
    return images


def same_names(images: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the files of each product of which two have the same bare name, in different folders."""
    bare = {owner: [stem_of(name).rpartition("/")[2] for name in names] for owner, names in images.items()}
    folders = {owner: [name.rpartition("/")[0] for name in names] for owner, names in images.items()}
    return {
        owner: list(names)
        for owner, names in images.items()
        if len(names) > 1 and len(set(bare[owner])) < len(set(zip(folders[owner], bare[owner], strict=True)))
    }


def near_names(names: Iterable[str]) -> dict[str, str]:
    """Return files by path and by bare name, both with an ending in lower case, where only one file has that name."""
    found: dict[str, str | None] = {}
    for name in names:
        path = with_lower_ending(name)
        for key in {path, path.rpartition("/")[2]}:
            found[key] = None if key in found else name
    return {key: name for key, name in found.items() if name is not None}


def with_lower_ending(name: str) -> str:
    """Return a path with the ending of its file in lower case.

    >>> with_lower_ending("A/B.JPG")
    'A/B.jpg'
    """
    stem = stem_of(name)
    return stem + name[len(stem) :].lower()


def _owner(folder: str, stem: str, known: Collection[str]) -> str:
    """Return the longest id that a file of a folder is named by, empty if there is none."""
    while stem and folder + stem not in known:
        stem = stem.rpartition("_")[0]
    return folder + stem if stem else ""


def _path_key(name: str) -> tuple[object, ...]:
    folder, _, file = name.rpartition("/")
    return natural_key(folder), natural_key(file)
