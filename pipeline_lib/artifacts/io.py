"""Tables, JSON files and folders as stages write them: equal values give equal bytes, a kill leaves nothing half."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polars import DataFrame


ROW_GROUP = 100_000


@contextlib.contextmanager
def fresh_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out` and put it in its place at the end, so that a killed stage leaves no half."""
    out.parent.mkdir(parents=True, exist_ok=True)
    half = out.with_name(f".{out.name}.part")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir()
    yield half
    if out.exists():
        shutil.rmtree(out)
    half.rename(out)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn whatever a library raises over a file it cannot write (a full disk, say) into one OSError naming it."""
    try:
        yield
    except Exception as error:  # torch, safetensors, faiss and polars each raise a kind of their own
        raise OSError(
            f"{path}: cannot be written: {' '.join(str(error).split())[:200]}; make room and run `dvc repro` again, "
            "finished stages and epochs are kept"
        ) from error


def write_table(frame: DataFrame, path: Path) -> None:
    """Write a polars frame as the suffix says, .csv or .parquet; OSError where there is no room."""
    with writing(path):
        if path.suffix == ".csv":
            frame.write_csv(path)
        else:
            # Every choice that would change the file's bytes is spelled out.
            frame.rechunk().write_parquet(
                path, compression="zstd", compression_level=3, statistics=True, row_group_size=ROW_GROUP
            )


def write_json(path: Path, value: object) -> None:
    """Write JSON with sorted keys, so that equal values give equal bytes; NaN is refused."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Return what `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))
