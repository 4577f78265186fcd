"""Finds the photos of products: by the cells of an image column, or by the ids of the products.

A cell is looked up whole before it is cut, because `;`, `|` and `,` may be part of a file's name. Names are compared
cleaned, so that a name that macOS has written (NFD) is found; the path that is stored is that of the file system. A
cell without a folder may name a file of a sub-folder, and its ending may be in another case, if only one file fits.
"""

import os
import re
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path

from pipeline_lib.catalogue.strings import HALF_CHARACTER, clean_string, clean_strings
from pipeline_lib.datasets.image_index import assign_images, near_names, with_lower_ending

URL = re.compile(r"\s*((https?:)?//|(s3|gs|ftp|data):)", re.IGNORECASE)
# How a cell may list several files, in the order in which they are tried.
CUTS = (re.compile(r"[;|]"), re.compile(r","), re.compile(r"[;|,]"))
LOOKS_LIKE_FILES = re.compile(r"[^,]+\.\w{2,5}(\s*,\s*[^,]+\.\w{2,5})+")


def is_url(cell: str) -> bool:
    """Return whether a cell of an image column is a URL."""
    return URL.match(cell) is not None


def folder_prefix(image_folder: str) -> str:
    """Return what a path relative to the root has before the name of a file in the image folder."""
    return "" if image_folder in ("", ".") else image_folder.rstrip("/") + "/"


def readable_names(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the names that are UTF-8, and the other ones as the file system gives them."""
    good: list[str] = []
    bad: list[str] = []
    for name in names:
        (bad if HALF_CHARACTER.search(name) else good).append(name)
    return good, bad


def photos_by_id(names: Sequence[str], product_ids: Collection[str]) -> dict[str, list[str]]:
    """Return each product's file names; a name belongs to the longest matching id, both cleaned."""
    cleaned = clean_strings(names)
    if cleaned == list(names):
        return assign_images(names, product_ids)
    actual: dict[str, list[str]] = {}
    for name, original in zip(cleaned, names, strict=True):
        actual.setdefault(name, []).append(original)
    found = assign_images(actual, product_ids)
    return {owner: [name for each in images for name in actual[each]] for owner, images in found.items()}


class CellReader:
    """Returns the photos of a cell of an image column, as paths relative to the root."""

    def __init__(self, root: Path, prefix: str, names: Sequence[str]) -> None:
        self._root = root
        self._folder = prefix
        self._names = dict(zip(clean_strings(names), names, strict=True)) | {name: name for name in names}

    def paths(self, cell: str) -> list[str]:
        """Return the paths that a cell lists, without repetition; a file that does not exist remains as written."""
        text = cell.replace("\\", "/").strip()
        whole = self._find(text)
        if whole is not None:
            return [whole]
        ways = [[part.strip() for part in cut.split(text) if part.strip()] for cut in CUTS if cut.search(text)]
        for way in ways:
            found = [self._find(part) for part in way]
            if None not in found:
                return list(dict.fromkeys(path for path in found if path is not None))
        # Some are missing: cut where lists are usually cut.
        cut = CUTS[1] if LOOKS_LIKE_FILES.fullmatch(text) else CUTS[0]
        parts = [part.strip() for part in cut.split(text) if part.strip()]
        return list(dict.fromkeys(self._find(part) or part for part in parts))

    def _find(self, part: str) -> str | None:
        """Return the path of a file that exists: in the image folder, else in the root; None if there is none."""
        for name in (part, part.lstrip("/"), part.removeprefix(self._folder)):
            actual = self._names.get(name) or self._names.get(clean_string(name))
            if actual is not None:
                return self._folder + actual
        if part and not part.startswith("/") and os.path.isfile(self._root / part):  # noqa: PTH113 - no exception
            return part
        near = self._near.get(with_lower_ending(clean_string(part.removeprefix(self._folder))))
        return None if near is None else self._folder + near

    @cached_property
    def _near(self) -> dict[str, str]:
        near = near_names(dict.fromkeys(self._names.values()))
        return {clean_string(key): name for key, name in near.items()}
