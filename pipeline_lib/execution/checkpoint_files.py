"""The file of one checkpoint: a crash leaves the one before it, and damage is found when it is read.

A rename may reach the disk before the bytes of the file do, so both are flushed. torch writes a zip file with a CRC-32
of each tensor, but does not compare them when it loads.
"""

import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch

from pipeline_lib.artifacts.io import writing
from pipeline_lib.artifacts.messages import one_line

State = dict[str, Any]


def previous_of(path: Path) -> Path:
    """Return the file of the checkpoint before the one in `path`."""
    return path.with_name(f"{path.name}.previous")


def write_checkpoint(path: Path, state: State, keep_previous: bool) -> None:
    """Replace a checkpoint once the new one is on disk; with `keep_previous` the old one stays beside it."""
    part = path.with_name(f"{path.name}.part")
    with writing(part):
        torch.save(state, part)
        _flush(part)
    if keep_previous and path.exists():
        path.replace(previous_of(path))
    part.replace(path)
    _flush(path.parent)


def read_checkpoint(path: Path, writes: bool) -> State | None:
    """Return a checkpoint, or the one before it if it is missing or damaged, or None if no sound one is there.

    The process that `writes` says so in a line, and renames what is damaged.
    """
    lines = []
    for file in (path, previous_of(path)):
        if not file.exists():
            continue
        try:
            state = _checked(file)
        except (MemoryError, PermissionError):  # the file may be sound
            raise
        except Exception as error:  # zipfile, pickle and torch raise many kinds of errors for a damaged file
            lines.append(f"{file}: damaged ({one_line(error, 200)}), set aside as {_aside(file).name}")
            if writes:
                file.replace(_aside(file))
            continue
        _say(lines, "the run resumes from the epoch before", writes)
        return state
    _say(lines, "the run starts again", writes)
    return None


def _checked(file: Path) -> State:
    with zipfile.ZipFile(file) as records:
        if (name := records.testzip()) is not None:
            raise ValueError(f"the checksum of {name} differs")
    state: State = torch.load(file, weights_only=True, map_location="cpu")
    return state


def _say(lines: list[str], consequence: str, writes: bool) -> None:
    if lines and writes:
        sys.stderr.write(f"{'; '.join(lines)}; {consequence}\n")


def _aside(file: Path) -> Path:
    return file.with_name(f"{file.name}.damaged")


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
