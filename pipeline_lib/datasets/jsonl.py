"""Reads files of one JSON object a line, and tells of any fault by file, row, value and way out.

Rows are counted from 1, as editors count lines.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline_lib.datasets.table_file import check_utf8

Object = dict[str, Any]


def read_objects(path: Path) -> Iterator[tuple[int, Object]]:
    """Yield (row, object) of each line that is not blank; ValueError for a line that is no JSON object."""
    check_utf8(path)
    with path.open(encoding="utf-8-sig") as stream:
        for row, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"{path}: row {row}: not JSON at character {error.pos + 1} ({error.msg}): {line.strip()[:60]!r}; "
                    "write one whole object a line, or fetch the file again if it was cut off"
                ) from None
            if not isinstance(value, dict):
                raise ValueError(f"{path}: row {row}: {line.strip()[:60]!r} is not an object; write one a line")
            yield row, value


def whole_number(path: Path, row: int, found: Object, key: str) -> int:
    """Return the whole number under `key`; ValueError if it is missing or anything else."""
    value = found.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{path}: row {row}: {_said(found, key)}; write a whole number")
    return value


def whole_numbers(path: Path, row: int, found: Object, key: str) -> list[int]:
    """Return the list of whole numbers under `key`, empty if it is missing or null; ValueError for anything else."""
    value = found.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, int) and not isinstance(one, bool) for one in value):
        raise ValueError(f"{path}: row {row}: {_said(found, key)}; write a list of whole numbers")
    return value


def words(path: Path, row: int, found: Object, key: str) -> str:
    """Return the text under `key`; ValueError if it is missing or anything else."""
    value = found.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{path}: row {row}: {_said(found, key)}; write a text")
    return value


def _said(found: Object, key: str) -> str:
    if key not in found:
        return f"no {key!r} among {', '.join(map(repr, found)) or 'no keys'}"
    return f"{key} = {str(found[key])[:60]!r}" if isinstance(found[key], str) else f"{key} = {str(found[key])[:60]}"
