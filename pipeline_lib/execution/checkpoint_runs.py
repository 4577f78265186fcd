"""The folders of checkpoints under `.ckpt`: which run each belongs to, its size, and which ones are no longer needed.

A finished run must stay until DVC has recorded its outs in dvc.lock, which is after the stage's command. So a folder
remembers the entry of its outs in dvc.lock at the run's start. Once a finished run's entry is another, a later stage
removes the folder. A folder that a process has locked is never touched.
"""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.paths import project_root
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.execution.locks import release, take_lock

LOCK, DONE, RUN = "LOCK", "DONE", "run.json"
# Days after its last write at which any folder is removed: long enough to come back to a killed run.
RETENTION_DAYS = 7.0
SECONDS_A_DAY = 86400


@dataclass(frozen=True)
class CheckpointRun:
    """One run's folder: the outs that it makes ("" if unknown), its state, its size in bytes, and its age in days.

    `state` is unfinished, finished, or recorded (finished, and DVC has recorded its outs). The size is what removing it
    frees: hard links of files that stay elsewhere do not count.
    """

    folder: Path
    out: str
    state: str
    size: int
    age: float


def checkpoint_base() -> Path:
    """Return the folder of all checkpoints: VITRINE_CHECKPOINTS, or `.ckpt` of the project that DVC runs for."""
    return Path(os.environ.get("VITRINE_CHECKPOINTS") or project_root() / ".ckpt")


def lock_folder(folder: Path) -> TextIO | None:
    """Return the open lock of a folder, which is created if needed, or None if a process has it."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return take_lock(folder / LOCK, f"process {os.getpid()}")
        except (FileNotFoundError, FileExistsError):  # the folder was removed meanwhile
            if folder.is_file():
                raise


def begin_run(folder: Path, out: Path | None) -> None:
    """Write which outs a locked folder is for, and their entry in dvc.lock; a resumed run has both already."""
    if out is not None and not (folder / RUN).is_file():
        entry = lock_entry(out.as_posix())
        write_json(folder / RUN, {"project": str(project_root().resolve()), "out": out.as_posix(), "entry": entry})


def lock_entry(out: str) -> str | None:
    """Return a hash of the stage in the project's dvc.lock that has a path among its outs; None if there is none.

    It covers the entry up to the hash of the outs: DVC may be writing the rest.
    """
    try:
        text = (project_root() / "dvc.lock").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    recorded = re.compile(rf"\n    outs:\n(?:.*\n)*?    - path: {re.escape(out)}\n(?:      hash: .*\n)?      md5: .*\n")
    for entry in re.split(r"^  (?=\S)", text, flags=re.MULTILINE)[1:]:
        if match := recorded.search(entry):
            return digest_value(entry[: match.end()])
    return None


def checkpoint_runs() -> list[CheckpointRun]:
    """Return all folders of checkpoints, oldest first."""
    now = time.time()
    runs = [run for path in checkpoint_base().glob("*/") if (run := _read(path, now)) is not None]
    return sorted(runs, key=lambda run: -run.age)


def remove_recorded() -> None:
    """Remove the folders of recorded runs, and those older than RETENTION_DAYS."""
    remove_runs([run for run in checkpoint_runs() if run.state == "recorded" or run.age > RETENTION_DAYS])


def remove_superseded(folder: Path) -> None:
    """Remove the other finished runs of a folder's outs: DVC can only record the last one."""
    out = _about(folder).get("out")
    others = [run for run in checkpoint_runs() if run.out == out and run.folder.name != folder.name]
    remove_runs([run for run in others if out and run.state != "unfinished"])


def message_on_others(folder: Path) -> str | None:
    """Return a line on the number and size of all other folders, None if there are none."""
    others = [run for run in checkpoint_runs() if run.folder.name != folder.name]
    size = sum(run.size for run in others) / 1e6
    return f"checkpoints of other runs: {len(others)}, {size:.1f} MB, see `vitrine clean`" if others else None


def remove_runs(runs: list[CheckpointRun]) -> list[CheckpointRun]:
    """Remove folders, except those that a process has locked; return the removed ones."""
    return [run for run in runs if _removed(run.folder)]


def _removed(folder: Path) -> bool:
    if not folder.is_dir() or (lock := lock_folder(folder)) is None:
        return False
    try:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        release(lock)
    return not folder.exists()


def _read(folder: Path, now: float) -> CheckpointRun | None:
    """Return what a folder holds, None if it was removed meanwhile."""
    files = list(_stats(folder))
    if not files:
        return None
    about, finished = _about(folder), (folder / DONE).exists()
    state = "unfinished"
    if finished:
        entry = lock_entry(about["out"]) if about else None
        state = "recorded" if entry is not None and entry != about["entry"] else "finished"
    return CheckpointRun(
        folder=folder,
        out=about.get("out", ""),
        state=state,
        size=sum(stat.st_size for stat in files if stat.st_nlink == 1),
        age=max(0.0, now - max(stat.st_mtime for stat in files)) / SECONDS_A_DAY,
    )


def _about(folder: Path) -> dict[str, str]:
    """Return the content of RUN, empty for unknown outs, a file that was being written, and another project's run.

    Projects may share a folder (VITRINE_CHECKPOINTS), but this one's dvc.lock says nothing about the outs of others.
    """
    with contextlib.suppress(FileNotFoundError, ValueError):
        about = read_object(folder / RUN, project=str, out=str, entry=object)
        return about if about["project"] == str(project_root().resolve()) else {}
    return {}


def _stats(folder: Path) -> Iterator[os.stat_result]:
    for parent, _, names in os.walk(folder):  # it skips what another process removes meanwhile
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                yield Path(parent, name).stat()
