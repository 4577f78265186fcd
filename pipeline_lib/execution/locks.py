"""Locks of files: one process at a time runs a stage, or writes into a folder of checkpoints.

The kernel releases a lock when its process ends, however it ends. A fork gives up its copy at once, so that a worker
that outlives a killed stage for a moment does not hold the stage's lock.
"""

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.digests import digest_value

FOLDER = paths.WORK / ".locks"
# Longer than a stage takes to end after DVC was killed, also on a busy machine.
WAIT_SECONDS = 20.0
# Before it says what it waits for.
QUIET_SECONDS = 1.0
POLL_SECONDS = 0.1
_held: set[TextIO] = set()


def take_lock(file: Path, holder: str = "") -> TextIO | None:
    """Return the open lock of a file, created if needed, in which `holder` is written; None if a process has it.

    Raises FileNotFoundError if its folder is removed, another OSError if the file system has no locks.
    """
    while True:
        lock = file.open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock.fileno()), file.stat()):
                lock.truncate(0)
                lock.write(holder)
                lock.flush()
                _held.add(lock)
                return lock
        except BlockingIOError:
            lock.close()
            return None
        except FileNotFoundError:  # its last holder removed it meanwhile
            pass
        except BaseException:
            lock.close()
            raise
        lock.close()


def release(lock: TextIO) -> None:
    """Release a lock."""
    _held.discard(lock)
    lock.close()


def wait_for_lock(take: Callable[[], TextIO | None], seconds: float | None = None) -> TextIO | None:
    """Return the lock that `take` gives, None if another process has it all the time: by default WAIT_SECONDS."""
    end = time.monotonic() + (WAIT_SECONDS if seconds is None else seconds)
    while (lock := take()) is None and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    return lock


@contextlib.contextmanager
def only_run(module: str, arguments: Sequence[str], root: Path = Path()) -> Iterator[None]:
    """Let one process at a time run a stage with the same arguments in a project.

    A stage whose DVC was killed ends within seconds, so this waits for WAIT_SECONDS. Raises ValueError that names the
    process that still runs the stage then.
    """
    command = " ".join([module, *arguments])
    file = (root / FOLDER / f"{module}-{digest_value(command)[:12]}.lock").absolute()

    def take() -> TextIO | None:
        file.parent.mkdir(parents=True, exist_ok=True)
        return take_lock(file, f"process {os.getpid()} ({command})")

    try:
        if (lock := wait_for_lock(take, QUIET_SECONDS)) is None:
            sys.stderr.write(f"{module}: waits up to {WAIT_SECONDS:.0f} s for {holder(file)}, which runs it\n")
            lock = wait_for_lock(take)
    except OSError as error:
        sys.stderr.write(f"{module}: runs without a lock, because {FOLDER} allows none: {error}\n")
        yield
        return
    if lock is None:
        raise ValueError(
            f"{holder(file)} runs this stage already; wait until it has ended, or end it with `kill` and its number, "
            "and run `dvc repro` again"
        )
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        release(lock)


def holder(file: Path) -> str:
    """Return what the process that has a lock wrote there about itself."""
    with contextlib.suppress(FileNotFoundError):
        return file.read_text(encoding="utf-8") or "another process"
    return "another process"


def _give_up() -> None:
    """Close the copies that a fork has of the locks of its parent."""
    while _held:
        _held.pop().close()


os.register_at_fork(after_in_child=_give_up)
