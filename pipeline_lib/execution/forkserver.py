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
import gc
import hashlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, wait
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path
from typing import NoReturn

import pipeline_lib.execution.threads  # noqa: F401
from pipeline_lib.execution.import_closure import PACKAGES
from pipeline_lib.execution.launch import LAUNCHED, launcher
from pipeline_lib.execution.stage import die_with_parent, exit_now

SWITCH = "VITRINE_FORKSERVER"
# DVC sets it for the commands of a stage.
STAGE_NAME = "DVC_STAGE"
LIBRARIES = ("torch", "timm", "transformers.modeling_utils", "transformers.models.auto.modeling_auto")
GPUS = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))
STREAMS = (0, 1, 2)
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Job:
    """The module whose `main` is the stage, and the arguments, search path, folder and environment of its process."""

    module: str
    argv: list[str]
    path: list[str]
    folder: str
    environment: dict[str, str]


def run_stage(module: str, main: Callable[[], None]) -> NoReturn:
    """Run `main` of `module` in a fork of the server, or in this process if there is no server; ends the process."""
    if is_enabled():
        server, reason = _find_server()
        job = Job(module, sys.argv, sys.path, str(Path.cwd()), dict(os.environ))
        child = None if server is None else _start_fork(server, job)
        if server is not None and child is not None:
            _exit_as(_wait_for(server, child, module))
        if reason:
            sys.stderr.write(f"{module}: imports torch itself, because {reason}\n")
    main()
    exit_now()


def is_enabled() -> bool:
    """Return whether stages may be forks: no launcher, no GPU, and not switched off."""
    disabled = launcher() or LAUNCHED in os.environ or os.environ.get(SWITCH) == "0"
    return not disabled and not any(path.exists() for path in GPUS)


def _find_server() -> tuple[Connection | None, str | None]:
    """Return a connection to the server that SWITCH names or that belongs to DVC, and why there is none if expected."""
    shared = os.environ.get(SWITCH)
    if shared:
        with contextlib.suppress(OSError):
            return Client(shared, "AF_UNIX"), f"the fork server at {shared} ended"
        return None, f"{SWITCH} = {shared}, but no fork server listens there"
    owner = _find_dvc()
    if owner is None:
        return None, None
    address = _address(owner)
    log = address.with_suffix(".log")
    return _connect(address, log, owner), f"the fork server did not start; see {log}"


def _find_dvc() -> int | None:
    """Return the DVC process that runs this stage: the nearest ancestor that does not belong to a stage."""
    if STAGE_NAME not in os.environ or sys.platform != "linux":
        return None
    process = os.getppid()
    with contextlib.suppress(OSError):  # a process of another user
        while process > 1:
            if not any(entry.startswith(f"{STAGE_NAME}=") for entry in _environment(process)):
                return process
            process = int(_stat_fields(process)[1])
    return None


def _address(owner: int) -> Path:
    """Return the server's socket, shared by stages that started with one environment, interpreter and search path."""
    # The environment at process start, because libraries that a stage imports set variables.
    initial = [entry for entry in _environment("self") if entry.partition("=")[0] not in (STAGE_NAME, "_", "SHLVL")]
    identity = json.dumps([owner, _stat_fields(owner)[19], sys.executable, sys.path, sorted(initial)])
    # A relative path, because the address of a socket is limited to 107 characters.
    folder = Path(os.path.relpath(Path(os.environ["DVC_ROOT"], ".dvc", "tmp", "vitrine")))
    return folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.socket"


def _environment(process: int | str) -> list[str]:
    """Return the NAME=value entries of a process's environment at its start."""
    return Path(f"/proc/{process}/environ").read_bytes().decode(errors="surrogateescape").split("\0")


def _stat_fields(process: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on: state, parent, ...; the 20th is the start time."""
    return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()


def _connect(address: Path, log: Path, owner: int) -> Connection | None:
    """Return a connection to the server, and start it first if needed; None if it ended, with the reason in its log."""
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        return Client(str(address), "AF_UNIX")
    address.parent.mkdir(mode=0o700, exist_ok=True)  # a client can run any code as this user
    command = [sys.executable, "-m", "pipeline_lib.execution.forkserver", str(address), str(owner)]
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    while server.poll() is None:
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            return Client(str(address), "AF_UNIX")
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
        raise SystemExit(f"{module}: error: the fork server was killed; run `dvc repro` again") from None
    return status


def _exit_as(status: int) -> NoReturn:
    if status < 0:
        with contextlib.suppress(OSError):  # the handler of SIGKILL cannot be set
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    exit_now(status)


@dataclass(frozen=True)
class _Fork:
    """A running stage: its process, a descriptor that is readable once it has ended, and who waits for it."""

    process: int
    ended: int
    client: Connection


def serve(address: Path, owner: int) -> None:
    """Run each stage that connects in a fork of this process, side by side, until the process `owner` ends."""
    owner_ended = os.pidfd_open(owner)
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()
        for name in LIBRARIES:
            importlib.import_module(name)
        gc.collect()
        gc.freeze()  # forks share the objects of the libraries and do not scan them for cycles
        forks: list[_Fork] = []
        while owner_ended not in (ready := wait([owner_ended, listener, *_handles(forks)])):
            for fork in [fork for fork in forks if fork.ended in ready or fork.client in ready]:
                forks.remove(fork)
                _finish(fork, abandoned=fork.ended not in ready)
            if listener in ready:
                forks += _fork_stage(listener, owner_ended, forks)
        for fork in forks:
            _finish(fork, abandoned=True)
    address.unlink(missing_ok=True)
    address.with_suffix(".log").unlink(missing_ok=True)


def _handles(forks: Sequence[_Fork]) -> list[int | Connection]:
    return [handle for fork in forks for handle in (fork.ended, fork.client)]


def _fork_stage(listener: socket.socket, owner_ended: int, others: Sequence[_Fork]) -> list[_Fork]:
    """Run a client's stage in a fork; no fork if the client has ended."""
    client = Connection(listener.accept()[0].detach())
    try:
        job: Job = client.recv()
        streams = [recv_handle(client) for _ in STREAMS]
    except (EOFError, ConnectionError):
        client.close()
        return []
    child = os.fork()
    if child == 0:
        listener.close()
        os.close(owner_ended)
        for connection in (client, *(other.client for other in others)):
            connection.close()
        for other in others:
            os.close(other.ended)
        _run_job(job, streams)
    for stream in streams:
        os.close(stream)
    with contextlib.suppress(ConnectionError):  # a client that has ended is seen by `wait`
        client.send(child)
    return [_Fork(child, os.pidfd_open(child), client)]


def _finish(fork: _Fork, abandoned: bool) -> None:
    """Send a fork's exit status to its client; terminate it first if the client or the owner has ended."""
    if abandoned:
        signal.pidfd_send_signal(fork.ended, signal.SIGTERM)
    os.close(fork.ended)
    status = os.waitstatus_to_exitcode(os.waitpid(fork.process, 0)[1])
    with fork.client, contextlib.suppress(ConnectionError):
        fork.client.send(status)


def _run_job(job: Job, streams: list[int]) -> NoReturn:
    """Take over the stage's streams, folder, environment and arguments, import our code again and run the stage."""
    die_with_parent()
    try:
        for number, stream in zip(STREAMS, streams, strict=True):
            os.dup2(stream, number)
            os.close(stream)
        lines = sys.stdout.isatty() or bool(job.environment.get("PYTHONUNBUFFERED"))
        sys.stdout.reconfigure(line_buffering=lines)  # type: ignore[union-attr]
        os.chdir(job.folder)
        os.environ.clear()
        os.environ.update(job.environment)
        sys.argv = job.argv
        sys.path[:] = job.path
        for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
            del sys.modules[name]
        importlib.import_module(job.module).main()
    except SystemExit as error:
        if isinstance(error.code, str):
            sys.stderr.write(f"{error.code}\n")
        exit_now(error.code if isinstance(error.code, int) else int(error.code is not None))
    except KeyboardInterrupt:
        _exit_as(-signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        exit_now(1)
    exit_now()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
