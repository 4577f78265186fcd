"""Runs one stage in several processes: the stage restarts itself under the command line in VITRINE_LAUNCH.

The command line (`torchrun --nproc-per-node 2`) is not in the stage's command, params or deps, so the number of
processes does not change the stage's identity. The process that DVC started computes nothing: it waits, and prints one
line if something went wrong. Launchers report a failed process with pages of output, so the first process that fails
writes its reason to a file, the others notice that within a moment, and all of them exit with status 0.
"""

import multiprocessing
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from pipeline_lib.artifacts.processes import is_running
from pipeline_lib.execution.owners import LAUNCHED, OWNER, die_with_parent, process_space
from pipeline_lib.execution.stage import Stage

LAUNCH = "VITRINE_LAUNCH"
# In the folder that LAUNCHED names, the first process that fails writes its reason.
PREFIX = f"vitrine-launch-{process_space()}-"
# Set for the launched processes if the user gave no number of threads: they share the machine's CPU cores.
SHARE_THREADS = "VITRINE_SHARE_THREADS"
POLL_SECONDS = 0.2
# Time for a killed process to be reported, and for all processes to end after Ctrl-C.
REASON_SECONDS, END_SECONDS = 2.0, 5.0


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
    if environment.setdefault("PET_STANDALONE", "1") == "1":  # torchrun picks a free port, so two runs never share one
        # Else it connects to this machine by its full name, and waits for minutes where no name server knows that.
        environment.setdefault("PET_LOCAL_ADDR", "127.0.0.1")
    _remove_abandoned()
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        folder = Path(name)
        (folder / OWNER).write_text(str(os.getpid()), encoding="utf-8")
        # Ctrl-C reaches this process alone: launchers answer it with pages of output.
        process = subprocess.Popen(
            command, env=environment | {LAUNCHED: name}, stdin=subprocess.DEVNULL, process_group=0,
            preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGKILL),
        )  # fmt: skip
        try:
            status = process.wait()
        finally:
            if process.poll() is None:
                _end(process, folder)
        reason = _reason_file(folder)
        if reason.exists():
            raise ValueError(reason.read_text(encoding="utf-8"))
    if status:
        raise ValueError(f"{LAUNCH}: `{shlex.join(command)}` {_ending(status)}; its output is above")


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    """End the launcher and its processes: they exit because of the reason file, and are killed if that takes long."""
    _write_once(folder, "interrupted")
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    process.kill()  # its processes die with it
    process.wait()


def _ending(status: int) -> str:
    """Return how a process ended, as a part of a sentence.

    >>> _ending(3), _ending(-9), _ending(-40)
    ('ended with status 3', 'was killed by SIGKILL', 'was killed by signal 40')
    """
    if status >= 0:
        return f"ended with status {status}"
    names = {number.value: number.name for number in signal.Signals}
    return f"was killed by {names.get(-status, f'signal {-status}')}"


def _remove_abandoned() -> None:
    """Remove the folders that killed stages of this user left."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError, ValueError):
            if not is_running(int((folder / OWNER).read_text(encoding="utf-8"))):
                shutil.rmtree(folder)


@contextmanager
def launched(check: Callable[[], None]) -> Iterator[None]:
    """Run the body of a launched process: it exits early if another process fails, and writes a reason if it fails.

    The process ends after the body and `check()`, which raises if the stage's result must not be recorded. In a
    process that was not launched this is a no-op, and the stage itself calls `check`.
    """
    if LAUNCHED not in os.environ:
        yield
        return
    folder = Path(os.environ[LAUNCHED])
    _report_signals(folder)
    threading.Thread(target=_watch, args=(folder,), daemon=True).start()
    try:
        yield
        check()
    except Exception as error:
        # If another process has exited, a collective operation fails here: the reason is the other one's, which may
        # take a moment to write it.
        if not isinstance(error, ValueError | OSError):
            _wait_for_reason(folder)
        if not _reason_file(folder).exists():
            _write_reason(folder, error)
        # The connections stay open meanwhile, so that the others exit because of the reason file.
        time.sleep(2 * POLL_SECONDS)
        _exit_at_once()
    raise SystemExit(0)


def _report_signals(folder: Path) -> None:
    """Continue in a fork; this process waits for it, and writes the reason file if a signal kills the fork.

    Nothing but a parent learns which signal ended a process. Launchers report it in pages of output. The thread that
    waits for the stage stays in this process; the fork ends with it.
    """
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        die_with_parent(parent, signal.SIGKILL)
        return
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:
        hint = " (memory?)" if status == -signal.SIGKILL else ""
        _write_once(folder, f"{LAUNCH}: rank {os.environ.get('RANK', 'unknown')} {_ending(status)}{hint}")
        time.sleep(2 * POLL_SECONDS)
        status = 0
    os._exit(status)


def _wait_for_reason(folder: Path) -> None:
    end = time.monotonic() + REASON_SECONDS
    while not _reason_file(folder).exists() and time.monotonic() < end:
        time.sleep(POLL_SECONDS)


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
    text = str(error) if expected else f"a process failed with {type(error).__name__}; its traceback is above"
    _write_once(folder, text)


def _write_once(folder: Path, text: str) -> None:
    """Write the reason file, unless another process was first or the stage has removed the folder."""
    part = folder / f"{os.getpid()}.part"
    with suppress(FileExistsError, FileNotFoundError):
        part.write_text(text, encoding="utf-8")
        os.link(part, _reason_file(folder))


def _exit_at_once() -> NoReturn:
    """End this process and its children without waiting for anything."""
    for child in multiprocessing.active_children():
        child.terminate()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
