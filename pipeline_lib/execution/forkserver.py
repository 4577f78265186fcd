"""Runs the stages of one `dvc repro` that need torch as forks of a server process that has already imported it.

Importing torch, timm and transformers takes 5 to 7 seconds, and each fold, scale and teacher is a stage of its own. The
first such stage starts the server. Every stage sends its arguments, environment and standard streams to the server and
waits for the exit status of its fork. A fork inherits the libraries only and imports our code again, so each stage runs
the current code. The server belongs to one DVC process and ends with it; stages that come at once run side by side
(`vitrine repro` shares one server among its DVC processes). There is no server outside Linux, under a launcher, with a
GPU (CUDA must not be used in a fork of a process that initialised it), with VITRINE_FORKSERVER=0, or for a stage that
is started by hand: such a stage runs in its own process.

VITRINE_FORKSERVER=SOCKET uses one server for many commands, also for stages started by hand. Start it with
`python -m pipeline_lib.execution.forkserver SOCKET PID`; it ends with the process PID.
"""

import contextlib
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Client, Connection
from multiprocessing.reduction import send_handle
from pathlib import Path
from typing import NoReturn

import pipeline_lib.execution.threads  # noqa: F401
from pipeline_lib.artifacts.processes import is_running
from pipeline_lib.execution.forks import STREAMS, Job, serve
from pipeline_lib.execution.launch import launcher
from pipeline_lib.execution.owners import (
    LAUNCHED,
    STAGE_NAME,
    check_owner,
    end_with_owner,
    environment,
    find_dvc,
    process_space,
    stat_fields,
)
from pipeline_lib.execution.stage import exit_as, exit_now, exit_with

SWITCH = "VITRINE_FORKSERVER"
GPUS = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))
# Sockets and logs of servers, under DVC's root.
FOLDER = Path(".dvc", "tmp", "vitrine")
POLL_SECONDS = 0.02


def run_stage(module: str, main: Callable[[], None], starts: bool = True) -> NoReturn:
    """Run `main` of `module` in a fork of the server, or in this process if there is no server; ends the process.

    A stage with `starts` False, which may need no torch at all, uses a server that runs and starts none.
    """
    if is_enabled():
        end_with_owner()
        server, reason = _find_server(starts)
        job = Job(os.getpid(), module, sys.argv, sys.path, str(Path.cwd()), dict(os.environ))
        child = None if server is None else _start_fork(server, job)
        if server is not None and child is not None:
            exit_as(_wait_for(server, child, module))
        check_owner()  # the server ends with it, too
        if reason:
            sys.stderr.write(f"{module}: imports torch itself, because {reason}\n")
    try:
        main()
    except SystemExit as error:
        exit_with(error)
    exit_now()


def is_enabled() -> bool:
    """Return whether stages may be forks: no launcher, no GPU, and not switched off."""
    disabled = launcher() or LAUNCHED in os.environ or os.environ.get(SWITCH) == "0"
    return not disabled and not any(path.exists() for path in GPUS)


def _find_server(starts: bool) -> tuple[Connection | None, str | None]:
    """Return a connection to the server that SWITCH names or that belongs to DVC, and why there is none if expected."""
    shared = os.environ.get(SWITCH)
    if shared:
        with contextlib.suppress(OSError):
            if reason := why_unsafe(Path(shared)):
                return None, reason
            return Client(shared, "AF_UNIX"), f"the fork server at {shared} ended"
        return None, f"{SWITCH} = {shared}, but no fork server listens there"
    owner = find_dvc()
    if owner is None:
        return None, None
    folder = Path(os.path.relpath(Path(os.environ["DVC_ROOT"], FOLDER)))
    if reason := secure_folder(folder):
        return None, reason
    address = folder / _name(owner)
    log = address.with_suffix(".log")
    server = _connect(address)
    if server is None and starts:
        return _start(address, log, owner), f"the fork server did not start; see {log}"
    return server, None


def why_unsafe(address: Path) -> str | None:
    """Return why the server at an address is not used: its socket or folder is another user's, or others may write."""
    folder = address.absolute().parent
    if address.stat().st_uid != os.geteuid():
        return f"the fork server at {address} belongs to another user"
    about = folder.stat()
    if about.st_uid != os.geteuid():
        return f"{folder}, the folder of the fork server, belongs to another user"
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"other users may write in {folder}, the folder of the fork server; run `chmod go-w {folder}`"
    return None


def secure_folder(folder: Path) -> str | None:
    """Make the folder of sockets, which only this user may enter; return why it cannot be used, None if it can.

    Whoever can write there can run code as this user.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
            return f"{folder} is not a folder of this user, so there is no fork server"
        folder.chmod(0o700)
    except OSError as error:
        return f"there is no fork server: {error}"
    return None


def _name(owner: int) -> str:
    """Return the name of the socket, shared by stages that started with one environment, interpreter and search path.

    It begins with the owner, so that a later start finds the files of a killed one.
    """
    # The environment at process start, because libraries that a stage imports set variables.
    initial = [entry for entry in environment("self") if entry.partition("=")[0] not in (STAGE_NAME, "_", "SHLVL")]
    identity = json.dumps([owner, stat_fields(owner)[19], sys.executable, sys.path, sorted(initial)])
    return f"{process_space()}-{owner}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.socket"


def _remove_abandoned(folder: Path) -> None:
    """Remove the files of servers whose owner was killed together with them."""
    for path in folder.glob(f"{process_space()}-*-*"):
        if not is_running(int(path.name.split("-")[1])):
            path.unlink(missing_ok=True)


def _connect(address: Path) -> Connection | None:
    """Return a connection to the server that listens there; None if there is none."""
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        return Client(str(address), "AF_UNIX")
    return None


def _start(address: Path, log: Path, owner: int) -> Connection | None:
    """Start the server and return a connection to it; None if it ended, with the reason in its log."""
    _remove_abandoned(address.parent)
    command = [sys.executable, "-m", "pipeline_lib.execution.forkserver", str(address), str(owner)]
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    while server.poll() is None:
        if connection := _connect(address):
            return connection
        time.sleep(POLL_SECONDS)
    return None


def _start_fork(server: Connection, job: Job) -> int | None:
    """Return the process id of the fork that runs the stage; None if the server ended before it forked."""
    try:
        server.send(job)
        for stream in STREAMS:
            send_handle(server, stream, None)
        child: int = server.recv()
    except (EOFError, ConnectionError):
        return None
    return child


def _wait_for(server: Connection, child: int, module: str) -> int:
    """Return the exit status of the fork, or minus the signal that killed it; this process forwards signals to it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(child, number))
    try:
        status: int = server.recv()
    except (EOFError, ConnectionError):
        check_owner()  # a server ends with its DVC, and this message would have no reader or the wrong one
        raise SystemExit(f"{module}: error: the fork server was killed; run `dvc repro` again") from None
    return status


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
    exit_now()  # the libraries print what they leaked
