"""Finds the photos of products by file name, `<id>.<ext>` or `<id>_*.<ext>`, in one scan of the image folder.

A glob for each product would read the folder once per product. If both `a` and `a_1` are ids, `a_1_2.jpg` belongs to
`a_1`.
"""

import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp"})


def list_images(folder: Path) -> list[str]:
    """Return the names of a folder's image files in natural order, an empty list if the folder does not exist."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if os.path.splitext(entry.name)[1].lower() in EXTENSIONS]  # noqa: PTH122
    return sorted(names, key=natural_key)


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Return a sort key that puts a_2 before a_10.

    >>> sorted(["a_10.jpg", "a.jpg", "a_2.jpg"], key=natural_key)
    ['a.jpg', 'a_2.jpg', 'a_10.jpg']
    """
    stem, dot, extension = name.rpartition(".")
    parts = re.findall(r"\d+|\D+", stem if dot else extension)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts], name


def assign_images(names: Iterable[str], product_ids: Collection[str]) -> dict[str, list[str]]:
    """Return each product's file names in the order of `names`; a name belongs to the longest matching id."""
    known = set(product_ids)
    images: dict[str, list[str]] = {}
    for name in names:
        owner = name.rpartition(".")[0]
        while owner and owner not in known:
            owner = owner.rpartition("_")[0]
        if owner:
            images.setdefault(owner, []).append(name)
    return images
