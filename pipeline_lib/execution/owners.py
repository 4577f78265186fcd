"""Ends a process when its owner ends: its parent, DVC for a stage, the stage for a launched process, a server's owner.

The kernel tells a process only that its parent has ended, and only from the moment on at which the process asks for it.
DVC runs a stage in a shell: dash waits for the stage, so it is the stage's parent and survives DVC. A thread therefore
waits for the owner as well. It does not need the main thread, which may be in native code for minutes.
"""

import contextlib
import ctypes
import hashlib
import os
import platform
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from pipeline_lib.artifacts.processes import is_running

PR_SET_PDEATHSIG = 1
# Time that a process has to end by itself once its owner has ended.
GRACE_SECONDS = 3.0
# DVC sets it for the commands of a stage.
STAGE_NAME = "DVC_STAGE"
# Set for the processes that a launcher starts for one stage: a folder of the stage.
LAUNCHED = "VITRINE_LAUNCHED"
# The file in this folder with the process id of the stage.
OWNER = "owner"
# This process and its parent when this module is imported. If the parent is another one later, the first has ended.
_BORN = os.getpid(), os.getppid()
# Process -> the owner that a thread of it waits for; a fork has no such thread.
_followed: dict[int, int] = {}


def die_with_parent(parent: int | None = None, number: int = signal.SIGTERM) -> None:
    """Let the kernel send this process a signal when its parent ends; end now if it has ended already.

    `parent` is the process that started this one, by default its parent at the import of this module.
    """
    with contextlib.suppress(OSError, AttributeError):  # outside Linux an orphan is possible
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    if parent is None and _BORN[0] == os.getpid():
        parent = _BORN[1]
    if parent not in (None, os.getppid()):
        _end_orphan()


def start_worker(parent: int, _: int = 0) -> None:
    """Prepare a worker process, which dies with the process `parent` and leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(parent, signal.SIGKILL)


def end_with_owner() -> None:
    """End this process when its parent or its owner ends: DVC, or the stage that launched it; end now if it has."""
    if os.getpid() in _followed:
        return
    if LAUNCHED in os.environ:
        die_with_parent(number=signal.SIGKILL)
        with contextlib.suppress(FileNotFoundError):
            stage = int(Path(os.environ[LAUNCHED], OWNER).read_text(encoding="utf-8"))
            end_with(stage, lambda: os.kill(os.getpid(), signal.SIGKILL))
            return
        _end_orphan()
    die_with_parent()
    owner = find_dvc()
    if owner is not None:
        end_with(owner)
        if find_dvc() != owner:  # it ended, and another process has its number
            _end_orphan()


def end_with(owner: int, ended: Callable[[], object] | None = None) -> Callable[[], None]:
    """Start a thread that ends this process when the process `owner` ends, and return a function that stops it.

    By default the process gets SIGTERM, and SIGKILL after GRACE_SECONDS; otherwise `ended` is called.
    """
    try:
        handle = os.pidfd_open(owner)
    except ProcessLookupError:
        (ended or _end_orphan)()
        return lambda: None
    except (AttributeError, OSError):  # no Linux, or an old kernel: `die_with_parent` is all there is
        return lambda: None
    stop, stopped = os.pipe()

    def wait() -> None:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        poll.register(stop, select.POLLIN)
        if handle in dict(poll.poll()):
            (ended or _terminate_self)()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    _followed[os.getpid()] = owner

    def end_wait() -> None:
        os.close(stopped)
        thread.join()
        os.close(stop)
        os.close(handle)
        del _followed[os.getpid()]

    return end_wait


def check_owner() -> None:
    """End this process if the owner that it follows has ended."""
    owner = _followed.get(os.getpid())
    if owner is not None and not is_running(owner):
        _end_orphan()


def process_space() -> str:
    """Return a short name of where process ids count: this machine, or this container of it."""
    space = Path("/proc/self/ns/pid")
    return hashlib.sha256(f"{platform.node()} {space.stat().st_ino if space.exists() else 0}".encode()).hexdigest()[:8]


def find_dvc() -> int | None:
    """Return the DVC process that runs this stage: the nearest ancestor that does not belong to the stage.

    None outside Linux, for a stage that is started by hand, and if an ancestor belongs to another user. If DVC has
    ended, this process ends: another one has adopted it, which would never end it.
    """
    name = os.environ.get(STAGE_NAME)
    if name is None or sys.platform != "linux":
        return None
    process = os.getppid()
    try:
        while process > 1 and f"{STAGE_NAME}={name}" in environment(process):
            process = int(stat_fields(process)[1])
        adopted = process > 0 and _has_adopted(process)
    except PermissionError:
        return None
    except (FileNotFoundError, ProcessLookupError):
        adopted = True
    if adopted:
        _end_orphan()
    return process or None


def _has_adopted(process: int) -> bool:
    """Return whether an ancestor only took over a process whose parent ended; DVC has the process group of its stages.

    A DVC whose stages are in another group is known by its command line.
    """
    if os.getpgid(process) == os.getpgrp():
        return False
    return process == 1 or b"dvc" not in Path(f"/proc/{process}/cmdline").read_bytes()


def environment(process: int | str) -> list[str]:
    """Return the NAME=value entries of a process's environment at its start."""
    try:
        entries = Path(f"/proc/{process}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return []
    return entries.decode(errors="surrogateescape").split("\0")


def stat_fields(process: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on: state, parent, ...; the 20th is the start time."""
    return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()


def _terminate_self() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _end_orphan() -> NoReturn:
    """End this process without a word: whoever would read it has ended."""
    os._exit(128 + signal.SIGTERM)
