"""The stages of one `dvc repro` that need torch start as forks of one process that has loaded it already.

Loading torch, timm and transformers takes 5 to 7 seconds, and each fold, scale and teacher is a stage of its own. The
first such stage starts the server; it and all later ones hand it their arguments, environment and standard streams,
and wait for the status of the fork that runs them. A fork takes over libraries only and loads our code anew, so that
each stage runs the code as it is then. The server serves one DVC process, one stage at a time as DVC does, and ends
with it. A stage is run in the process that DVC started where it is not Linux, where a launcher starts several, where
there is a GPU (CUDA cannot be used in a fork of a process that has begun it), under VITRINE_FORKSERVER=0, and by hand.
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
from collections.abc import Callable
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
LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class Job:
    """What a stage is run with: the module whose `main` it is, and what a process of its own would have."""

    module: str
    argv: list[str]
    folder: str
    environment: dict[str, str]


def run_stage(module: str, main: Callable[[], None]) -> NoReturn:
    """Run `main`, the function of that name in `module`, in a fork of the server or else here; ends the process."""
    owner = _dvc()
    if owner is not None and _of_use():
        job = Job(module, sys.argv, str(Path.cwd()), dict(os.environ))
        address = _address(owner)
        log = address.with_suffix(".log")
        server = _connected(address, log, owner)
        child = None if server is None else _forked(server, job)
        if server is not None and child is not None:
            _end_as(_status(server, child, module))
        sys.stderr.write(f"{module}: loads torch itself; {log} says why there is no process to be forked from\n")
    main()
    exit_now()


def _of_use() -> bool:
    elsewhere = launcher() or LAUNCHED in os.environ or os.environ.get(SWITCH) == "0"
    return not elsewhere and not any(path.exists() for path in GPUS)


def _dvc() -> int | None:
    """Return the process that runs this stage: the nearest above it that is not itself of a stage."""
    if STAGE_NAME not in os.environ or sys.platform != "linux":
        return None
    number = os.getppid()
    with contextlib.suppress(OSError):  # a process of another user
        while number > 1:
            if not any(entry.startswith(f"{STAGE_NAME}=") for entry in _environment(number)):
                return number
            number = int(_fields(number)[1])
    return None


def _address(owner: int) -> Path:
    """Return where the server listens, for stages that began with the same environment, interpreter and search path."""
    # As it was at first: libraries that a stage imports set variables of their own.
    began = [entry for entry in _environment("self") if entry.partition("=")[0] not in (STAGE_NAME, "_", "SHLVL")]
    identity = json.dumps([owner, _fields(owner)[19], sys.executable, sys.path, sorted(began)])
    # Relative: the address of a socket has 107 characters at most.
    folder = Path(os.path.relpath(Path(os.environ["DVC_ROOT"], ".dvc", "tmp", "vitrine")))
    return folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.socket"


def _environment(process: int | str) -> list[str]:
    """Return the NAME=value of a process, as it began."""
    return Path(f"/proc/{process}/environ").read_bytes().decode(errors="surrogateescape").split("\0")


def _fields(process: int) -> list[str]:
    """Return what /proc tells of a process from its state on: state, parent, ...; its start is the 20th."""
    return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()


def _connected(address: Path, log: Path, owner: int) -> Connection | None:
    """Return a connection to the server, which is started where none is; None where it ended, its log tells why."""
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        return Client(str(address), "AF_UNIX")
    address.parent.mkdir(mode=0o700, exist_ok=True)  # who may connect may run anything as this user
    command = [sys.executable, "-m", "pipeline_lib.execution.forkserver", str(address), str(owner)]
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    while server.poll() is None:
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            return Client(str(address), "AF_UNIX")
        time.sleep(LOOK_SECONDS)
    return None


def _forked(server: Connection, job: Job) -> int | None:
    """Return the process that runs the stage; None where the server ended before it came to that."""
    try:
        server.send(job)
        for stream in STREAMS:
            send_handle(server, stream, None)
        child: int = server.recv()
    except (EOFError, ConnectionError):
        return None
    return child


def _status(server: Connection, child: int, module: str) -> int:
    """Return how the process of the stage ended: its status, or the signal it died of, negative."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(child, number))
    try:
        status: int = server.recv()
    except (EOFError, ConnectionError):
        gone = f"{module}: error: the process it was forked from was killed; run `dvc repro` again"
        raise SystemExit(gone) from None
    return status


def _end_as(status: int) -> NoReturn:
    if status < 0:
        with contextlib.suppress(OSError):  # SIGKILL cannot be handled, nor set
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    exit_now(status)


def serve(address: Path, owner: int) -> None:
    """Run one stage after the other, as they come, each in a fork of this process, until the process `owner` ends."""
    ended = os.pidfd_open(owner)
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()
        for name in LIBRARIES:
            importlib.import_module(name)
        gc.collect()
        gc.freeze()  # a fork need not look through what was loaded here, and shares it
        while ended not in wait([ended, listener]):
            _run_one(listener, ended)
    address.unlink(missing_ok=True)
    address.with_suffix(".log").unlink(missing_ok=True)


def _run_one(listener: socket.socket, ended: int) -> None:
    """Run a client's stage to its end, which is also that of the client or of DVC, and tell the client its status."""
    client = Connection(listener.accept()[0].detach())
    with client, contextlib.suppress(EOFError, ConnectionError):  # the client is gone: nobody to tell
        job: Job = client.recv()
        streams = [recv_handle(client) for _ in STREAMS]
        child = os.fork()
        if child == 0:
            listener.close()
            client.close()
            os.close(ended)
            _become(job, streams)
        for stream in streams:
            os.close(stream)
        over = os.pidfd_open(child)
        try:
            client.send(child)
            gone = over not in wait([ended, client, over])
        except ConnectionError:
            gone = True
        if gone:
            signal.pidfd_send_signal(over, signal.SIGTERM)
        os.close(over)
        client.send(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _become(job: Job, streams: list[int]) -> NoReturn:
    """Be the process of a stage: its streams, folder, environment and arguments; our code is loaded anew."""
    die_with_parent()
    try:
        for number, stream in zip(STREAMS, streams, strict=True):
            os.dup2(stream, number)
            os.close(stream)
        sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())  # type: ignore[union-attr]
        os.chdir(job.folder)
        os.environ.clear()
        os.environ.update(job.environment)
        sys.argv = job.argv
        for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
            del sys.modules[name]
        importlib.import_module(job.module).main()
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        exit_now(end.code if isinstance(end.code, int) else int(end.code is not None))
    except KeyboardInterrupt:
        _end_as(-signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        exit_now(1)
    exit_now()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
