"""Runs one stage in several processes: the stage restarts itself under the command line in VITRINE_LAUNCH.

The command line (`torchrun --nproc-per-node 2`) is not in the stage's command, params or deps, so the number of
processes does not change the stage's identity. The process that DVC started computes nothing: it waits, and prints one
line if something went wrong. Launchers report a failed process with pages of output, so the first process that fails
writes its reason to a file, the others notice that within a moment, and all of them exit with status 0.
"""

import multiprocessing
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pipeline_lib.execution.stage import Stage, die_with_parent

LAUNCH = "VITRINE_LAUNCH"
# Set for the launched processes: the folder in which the first process that fails writes its reason.
LAUNCHED = "VITRINE_LAUNCHED"
# Set for the launched processes if the user gave no number of threads: they share the machine's CPU cores.
SHARE_THREADS = "VITRINE_SHARE_THREADS"
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Ranks:
    """A launched process's rank among all processes and among those of its machine, both from 0."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int


def launcher() -> list[str]:
    """Return the words of the launcher's command line; empty if none is set or in a launched process."""
    return shlex.split(os.environ.get(LAUNCH, ""))


def read_ranks() -> Ranks | None:
    """Return the ranks that the launcher set, None in a process that was not launched.

    Raises ValueError if the launcher does not set them.
    """
    if LAUNCHED not in os.environ:
        return None
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise ValueError(
            f"{LAUNCH}: the launcher does not set {', '.join(missing)}; write `torchrun --nproc-per-node N`, or "
            "`accelerate launch --multi_gpu --num_processes N`"
        )
    return Ranks(*(int(os.environ[name]) for name in names))


def in_processes(run: Stage, work: Callable[[], None]) -> None:
    """Do the work of a stage: here, or under the launcher of VITRINE_LAUNCH if there is one, in all its processes.

    `work` holds the stage's slow imports, which a process that only launches others does not need.
    """
    if launcher():
        relaunch(run.module)
        return
    with launched(run.check_unchanged):
        work()


def relaunch(module: str) -> None:
    """Run `-m module` with this process's arguments under the launcher; ValueError with the reason if it fails."""
    command = [*launcher(), "-m", module, *sys.argv[1:]]
    environment = {name: value for name, value in os.environ.items() if name != LAUNCH}
    if "OMP_NUM_THREADS" not in environment:  # torchrun would set it to 1 with a warning
        environment |= {"OMP_NUM_THREADS": "1", SHARE_THREADS: "1"}
    environment.setdefault("PET_STANDALONE", "1")  # torchrun picks a free port, so two runs never share one
    with tempfile.TemporaryDirectory(prefix="vitrine-launch-") as folder:
        environment[LAUNCHED] = folder
        process = subprocess.Popen(command, env=environment, preexec_fn=die_with_parent)
        try:
            status = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        reason = _reason_file(Path(folder))
        if reason.exists():
            raise ValueError(reason.read_text(encoding="utf-8"))
    if status:
        raise ValueError(f"{LAUNCH}: `{shlex.join(command)}` ended with status {status}; its output is above")


@contextmanager
def launched(check: Callable[[], None]) -> Iterator[None]:
    """Run the body of a launched process: it exits early if another process fails, and writes a reason if it fails.

    The process ends after the body and `check()`, which raises if the stage's result must not be recorded. In a
    process that was not launched this is a no-op, and the stage itself calls `check`.
    """
    if LAUNCHED not in os.environ:
        yield
        return
    die_with_parent()
    folder = Path(os.environ[LAUNCHED])
    threading.Thread(target=_watch, args=(folder,), daemon=True).start()
    try:
        yield
        check()
    except Exception as error:
        # If another process has exited, a collective operation fails here: the reason is the other one's.
        if not _reason_file(folder).exists():
            _write_reason(folder, error)
        # The connections stay open meanwhile, so that the others exit because of the reason file.
        time.sleep(2 * POLL_SECONDS)
        _exit_at_once()
    raise SystemExit(0)


def _reason_file(folder: Path) -> Path:
    return folder / "reason"


def _watch(folder: Path) -> None:
    while folder.is_dir() and not _reason_file(folder).exists():
        time.sleep(POLL_SECONDS)
    _exit_at_once()


def _write_reason(folder: Path, error: Exception) -> None:
    """Write the reason file, unless another process was first."""
    expected = isinstance(error, ValueError | OSError)
    if not expected or os.environ.get("VITRINE_TRACEBACK"):
        traceback.print_exc()
    part = folder / f"{os.getpid()}.part"
    text = str(error) if expected else f"a process failed with {type(error).__name__}; its traceback is above"
    part.write_text(text, encoding="utf-8")
    try:
        os.link(part, _reason_file(folder))
    except FileExistsError:
        return


def _exit_at_once() -> NoReturn:
    """End this process and its children without waiting for anything."""
    for child in multiprocessing.active_children():
        child.terminate()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
