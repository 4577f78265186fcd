"""Reads a JSON file that is one value; errors name the file, the entry and how to correct it.

Entries of a list are counted from 1.
"""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts.messages import fault_of, kind_of, show
from pipeline_lib.artifacts.path_guard import inner_file
from pipeline_lib.datasets.jsonl import Object
from pipeline_lib.datasets.text_file import open_text

Pairs = list[tuple[str, Any]]


def load_json(
    path: Path,
    object_hook: Callable[[Object], Any] | None = None,
    pairs_hook: Callable[[Pairs], Any] | None = None,
) -> Any:
    """Return the value of a file; ValueError if it is not JSON.

    `object_hook` replaces each object while parsing, `pairs_hook` its keys and values in their order.
    """
    with open_text(path) as stream:
        text = stream.read()
    try:
        return json.loads(text, object_hook=object_hook, object_pairs_hook=pairs_hook)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: not JSON at character {error.pos} ({error.msg}); download the file again, it may be truncated"
        ) from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets without end
        raise ValueError(f"{path}: {fault_of(error)}; download the file again") from None


def load_unique_json(path: Path) -> Any:
    """Return the value of a file; ValueError if it is not JSON, or if an object has a key twice."""
    repeated: list[str] = []

    def as_object(pairs: Pairs) -> Object:
        found = dict(pairs)
        if len(found) < len(pairs):
            repeated.append(next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1))
        return found

    content = load_json(path, pairs_hook=as_object)
    if repeated:
        # The parser would keep the last of its values without a word.
        raise ValueError(f"{path}: the key {show(repeated[0])} is there twice; write each key once")
    return content


def read_entries(path: Path) -> list[tuple[int, Object]]:
    """Return (number, object) of each entry of a file that is a list of objects; ValueError for another value."""
    entries = load_json(path)
    if not isinstance(entries, list):
        raise ValueError(f"{path}: {kind_of(entries)}, not a list of objects; download the file again")
    if not entries:
        raise ValueError(f"{path}: the list is empty; download the file again")
    return numbered_objects(path, entries)


def numbered_objects(path: Path, entries: list[Any], place: str = "row") -> list[tuple[int, Object]]:
    """Return (number, object) of each entry of a list; ValueError, which says `place`, for another value."""
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise ValueError(f"{path}: {place} {number}: {kind_of(entry)}, not an object; download the file again")
    return list(enumerate(entries, start=1))


def text_of(path: Path, row: int, entry: Object, key: str) -> str:
    """Return the text or whole number under `key` as text, empty if missing or null; ValueError for another value."""
    value = entry.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
        raise ValueError(f"{path}: row {row}: {key} = {show(value)}; write a text")
    return "" if value is None else str(value)


def find_file(root: Path, name: str, folders: tuple[str, ...]) -> Path | None:
    """Return the file of a name in the root or in one of its folders, None if there is none.

    Raises ValueError for a link that leaves the data root.
    """
    found = next((folder for folder in ("", *folders) if (root / folder / name).is_file()), None)
    return None if found is None else inner_file(root, str(Path(found) / name))
