"""Several processes for one stage: it starts itself again under the launcher line in VITRINE_LAUNCH.

The line (`torchrun --nproc-per-node 2`) is no part of the stage's command, params or deps, so the number of processes
is no part of its identity. The process that DVC started computes nothing: it waits, and passes on as one line what
went wrong. Launchers tell of a failed process in pages of their own; so here a process that fails writes down why, the
others see it within a moment and leave, wherever they wait, and none of them leaves with an error status.
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

from pipeline_lib.execution.stage import die_with_parent

LAUNCH = "VITRINE_LAUNCH"
# Set for the launched processes: the folder in which the first one to fail writes down why.
LAUNCHED = "VITRINE_LAUNCHED"
# Set for them where the user gave no number of threads, so that they share the machine's processors.
SHARE_THREADS = "VITRINE_SHARE_THREADS"
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Place:
    """A launched process's number among all and among those of its machine, both from 0."""

    rank: int
    world: int
    local_rank: int
    local_world: int


def launcher() -> list[str]:
    """Return the words of the launcher line; empty where none is set, so too in a launched process."""
    return shlex.split(os.environ.get(LAUNCH, ""))


def place() -> Place | None:
    """Return where this process stands, None if it was not launched; ValueError if the launcher does not tell."""
    if LAUNCHED not in os.environ:
        return None
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise ValueError(
            f"{LAUNCH}: the launcher does not set {', '.join(missing)}; write `torchrun --nproc-per-node N`, or "
            "`accelerate launch --multi_gpu --num_processes N`"
        )
    return Place(*(int(os.environ[name]) for name in names))


def relaunch(module: str) -> None:
    """Run `-m module` with this process's arguments under the launcher; ValueError with what went wrong there."""
    command = [*launcher(), "-m", module, *sys.argv[1:]]
    environment = {name: value for name, value in os.environ.items() if name != LAUNCH}
    if "OMP_NUM_THREADS" not in environment:  # torchrun would set it to 1 and warn of it
        environment |= {"OMP_NUM_THREADS": "1", SHARE_THREADS: "1"}
    environment.setdefault("PET_STANDALONE", "1")  # torchrun takes a free port, so that two runs do not meet at one
    with tempfile.TemporaryDirectory(prefix="vitrine-launch-") as folder:
        environment[LAUNCHED] = folder
        process = subprocess.Popen(command, env=environment, preexec_fn=die_with_parent)
        try:
            status = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        told = _reason(Path(folder))
        if told.exists():
            raise ValueError(told.read_text(encoding="utf-8"))
    if status:
        raise ValueError(f"{LAUNCH}: `{shlex.join(command)}` ended with status {status}; what it said is above")


@contextmanager
def launched(check: Callable[[], None]) -> Iterator[None]:
    """Run the body of a launched process, which leaves early when another one failed, and tells if it fails itself.

    It ends with the body and `check()`, which raises where the stage must not count. In a process that was not
    launched, nothing: there the stage itself checks and tells.
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
        # Where another process has gone, a collective operation fails here: the reason is what that one told.
        if not _reason(folder).exists():
            _tell(folder, error)
        time.sleep(2 * LOOK_SECONDS)  # while the connections are still open, so that the others leave by the reason
        _leave()
    raise SystemExit(0)


def _reason(folder: Path) -> Path:
    return folder / "reason"


def _watch(folder: Path) -> None:
    while folder.is_dir() and not _reason(folder).exists():
        time.sleep(LOOK_SECONDS)
    _leave()


def _tell(folder: Path, error: Exception) -> None:
    """Write down why, unless another process was first."""
    expected = isinstance(error, ValueError | OSError)
    if not expected or os.environ.get("VITRINE_TRACEBACK"):
        traceback.print_exc()
    own = folder / f"{os.getpid()}.part"
    text = str(error) if expected else f"a process failed with {type(error).__name__}; its traceback is above"
    own.write_text(text, encoding="utf-8")
    try:
        os.link(own, _reason(folder))
    except FileExistsError:
        return


def _leave() -> NoReturn:
    """End this process and those it started, without waiting for anything."""
    for child in multiprocessing.active_children():
        child.terminate()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
