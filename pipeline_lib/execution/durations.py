"""How long each stage took on this machine: a JSON object a line in logs/durations.jsonl, which `vitrine plan` reads.

The file is no out of a stage, because clock times would change the hash of an unchanged result. A line has the command
of the stage, its seconds, the number of products, and a hash of each setting that the stage has read.
"""

import fcntl
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.artifacts.messages import one_line
from pipeline_lib.artifacts.read import read_object

FILE = Path("logs/durations.jsonl")
MAX_BYTES = 2_000_000  # thousands of runs; the older half goes when the file is larger


class Duration(NamedTuple):
    """One successful run of a stage; `products` is None if there was no catalogue, `settings` are key -> hash."""

    command: str
    seconds: float
    products: int | None
    settings: dict[str, str]


def settings_hash(value: Any) -> str:
    """Return a short hash of the value of a setting."""
    return digest_value(value)[:12]


def process_seconds() -> float:
    """Return the seconds since this process started, with the imports before its first line."""
    return float(max(0.0, time.time() - psutil.Process().create_time()))


def count_products(root: Path) -> int | None:
    """Return the products of the catalogue, None if there is no catalogue yet."""
    file = root / paths.CATALOGUE / "counts.json"
    if not file.is_file():
        return None
    products: int = read_object(file, products=int)["products"]
    return products


def record_duration(module: str, settings: Mapping[str, Any], seconds: float, root: Path = Path()) -> None:
    """Append one run of this process's stage; what cannot be recorded is a line on stderr, not a failed stage."""
    try:
        hashes = {key: settings_hash(value) for key, value in settings.items()}
        run = Duration(" ".join([module, *sys.argv[1:]]), round(seconds, 2), count_products(root), hashes)
        _append(paths.project_root() / FILE, json.dumps(run._asdict(), ensure_ascii=False) + "\n")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{FILE}: the duration of this stage is not recorded: {one_line(error)}\n")


def read_durations(root: Path) -> list[Duration]:
    """Return all recorded runs, oldest first, without lines that a killed process left incomplete."""
    file = root / FILE
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    return [run for run in map(_parsed, lines) if run is not None]


def _parsed(line: str) -> Duration | None:
    try:
        run = Duration(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    return run if isinstance(run.settings, dict) and isinstance(run.seconds, int | float) else None


def _append(file: Path, line: str) -> None:
    """Append a line; several stages may do so at the same time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+", encoding="utf-8", errors="replace") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        if stream.tell() > MAX_BYTES:
            stream.seek(0)
            lines = stream.readlines()
            stream.truncate(0)
            stream.writelines(lines[len(lines) // 2 :])
        stream.write(line)
