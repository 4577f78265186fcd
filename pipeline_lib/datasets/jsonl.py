"""Reads files with one JSON object per line; errors name the file, the row, the value and how to correct it.

Rows are counted from 1, as editors count lines.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts.messages import fault_of, kind_of, show
from pipeline_lib.datasets.text_file import open_text

Object = dict[str, Any]


def read_objects(path: Path) -> Iterator[tuple[int, Object]]:
    """Yield (row, object) for each line that is not blank; ValueError for a line that is not a JSON object."""
    with open_text(path) as stream:
        for row, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"{path}: row {row}: not JSON at character {error.pos + 1} ({error.msg}); write one complete "
                    "object per line, or download the file again if it is truncated"
                ) from None
            except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets without end
                raise ValueError(f"{path}: row {row}: {fault_of(error)}; write one object per line") from None
            if not isinstance(value, dict):
                raise ValueError(f"{path}: row {row}: {kind_of(value)}, not an object; write one object per line")
            yield row, value


def read_integer(path: Path, row: int, entry: Object, key: str) -> int:
    """Return the integer under `key`; ValueError if it is missing or of another type."""
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{path}: row {row}: {_describe(entry, key)}; write a whole number")
    return value


def read_integers(path: Path, row: int, entry: Object, key: str) -> list[int]:
    """Return the list of integers under `key`, empty if it is missing or null; ValueError for another type."""
    value = entry.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, int) and not isinstance(one, bool) for one in value):
        raise ValueError(f"{path}: row {row}: {_describe(entry, key)}; write a list of whole numbers")
    return value


def read_string(path: Path, row: int, entry: Object, key: str) -> str:
    """Return the string under `key` as it is in the file; ValueError if it is missing or of another type.

    The string may have half characters, which `drop_half_characters` removes.
    """
    value = entry.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{path}: row {row}: {_describe(entry, key)}; write a text")
    return value


def _describe(entry: Object, key: str) -> str:
    if key not in entry:
        return f"no {key!r} among {', '.join(map(show, entry)) or 'no keys'}"
    return f"{key} = {show(entry[key])}"
