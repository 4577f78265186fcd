"""Writes tables, JSON files and folders: equal values give equal bytes, and a killed stage leaves no partial folder."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polars import DataFrame


ROW_GROUP = 100_000
# Values with one column a class that are computed, written or read together: 16 MB as float32.
BLOCK_VALUES = 2**22
# Folder that a process writes before it becomes an out: name of the out, and number of the process.
PART = re.compile(r"\.(.+)\.(\d{1,9})\.part$")
# What raises if a folder that is complete must not replace the one before it.
_checks: list[Callable[[], None]] = []


@contextlib.contextmanager
def checked_before_replacing(check: Callable[[], None]) -> Iterator[None]:
    """Call `check` in the body before each folder of `fresh_folder` replaces its `out`; it raises to keep the old."""
    _checks.append(check)
    try:
        yield
    finally:
        _checks.remove(check)


@contextlib.contextmanager
def fresh_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out` that replaces `out` when the context ends without an exception.

    It is this process's own, `.NAME.PROCESS.part`, and those of processes that have ended are removed.
    """
    from pipeline_lib.artifacts.processes import is_running  # psutil takes a moment

    out.parent.mkdir(parents=True, exist_ok=True)
    for folder in out.parent.iterdir():
        left = PART.match(folder.name)
        if left and left[1] == out.name and (int(left[2]) == os.getpid() or not is_running(int(left[2]))):
            shutil.rmtree(folder, ignore_errors=True)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    part.mkdir()
    yield part
    for check in _checks:
        check()
    if out.exists():
        shutil.rmtree(out)
    part.rename(out)


def replaced_folder(part: Path) -> Path:
    """Return the folder that one of `fresh_folder` will replace, or a folder itself.

    >>> replaced_folder(Path("train/.0.712.part")).as_posix(), replaced_folder(Path("train/0")).as_posix()
    ('train/0', 'train/0')
    """
    found = PART.match(part.name)
    return part.with_name(found[1]) if found else part


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn any exception while writing a file (a full disk, say) into one OSError that names the file."""
    try:
        yield
    except Exception as error:  # torch, safetensors, faiss and polars each raise their own type
        raise OSError(
            f"{path}: cannot be written: {' '.join(str(error).split())[:200]}; free some space and run `dvc repro` "
            "again; it resumes after the last finished stage or epoch"
        ) from error


def write_table(frame: DataFrame, path: Path) -> None:
    """Write a polars frame in the format of the suffix, .csv or .parquet; OSError if it cannot be written."""
    with writing(path):
        if path.suffix == ".csv":
            frame.write_csv(path)
        else:
            # Every option that affects the file's bytes is explicit.
            frame.rechunk().write_parquet(
                path, compression="zstd", compression_level=3, statistics=True, row_group_size=ROW_GROUP
            )


def block_rows(num_classes: int) -> int:
    """Return the number of products whose values for each class are in memory together."""
    return min(ROW_GROUP, max(1, BLOCK_VALUES // max(1, num_classes)))


def write_blocks(blocks: Iterable[DataFrame], schema: Mapping[str, Any], path: Path, rows: int) -> None:
    """Write consecutive blocks of one Parquet table in row groups of `rows`, without holding the table in memory.

    OSError if the file cannot be written. An exception of `blocks` itself is raised as it is.
    """
    import polars as pl
    from polars.io.plugins import register_io_source

    failures: list[Exception] = []

    def source(*_: object) -> Iterator[DataFrame]:
        try:
            yield from blocks
        except Exception as error:
            failures.append(error)
            raise

    try:
        with writing(path):
            register_io_source(source, schema=pl.Schema(schema)).sink_parquet(
                path, compression="zstd", compression_level=3, statistics=True, row_group_size=rows, maintain_order=True
            )
    except OSError:
        if failures:
            raise failures[0] from None
        raise


def write_json(path: Path, value: object) -> None:
    """Write JSON with sorted keys, so that equal values give equal bytes; ValueError for NaN."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
