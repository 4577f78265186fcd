"""The process of a fork server: it imports torch once and runs each stage that connects in a fork of itself.

`forkserver` has the stage's side, and says when there is a server.
"""

import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import NoReturn

from pipeline_lib.execution.import_closure import PACKAGES
from pipeline_lib.execution.owners import GRACE_SECONDS, die_with_parent, end_with
from pipeline_lib.execution.stage import exit_as, exit_now, exit_with

# Not polars: its import starts threads with locks, and a fork takes over a lock that such a thread holds, but not it.
LIBRARIES = (
    "torch", "torch.utils.tensorboard", "timm", "transformers.modeling_utils", "transformers.models.auto.modeling_auto",
    "pydantic.root_model", "pydantic.type_adapter", "ruamel.yaml", "joblib", "PIL.Image",
)  # fmt: skip
STREAMS = (0, 1, 2)


@dataclass(frozen=True)
class Job:
    """The module whose `main` is the stage, and the arguments, search path, folder and environment of its process.

    `client` is the process that waits for it.
    """

    client: int
    module: str
    argv: list[str]
    path: list[str]
    folder: str
    environment: dict[str, str]


@dataclass(frozen=True)
class _Fork:
    """A running stage: its process, a descriptor that is readable once it has ended, and who waits for it."""

    process: int
    ended: int
    client: Connection


def serve(address: Path, owner: int) -> None:
    """Run each stage that connects in a fork of this process, side by side, until the process `owner` ends."""
    owner_ended = os.pidfd_open(owner)
    # A fork gets Ctrl-C from its client, and lets it in where it can end as a stage does.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        before = os.umask(0o177)
        listener.bind(str(address))
        os.umask(before)
        listener.listen()
        stop_waiting = end_with(owner, lambda: _abandon(address))  # the imports take seconds
        gc.disable()  # collections take 15 % of the imports' CPU time and find 1.4 % of the memory
        for name in LIBRARIES:
            importlib.import_module(name)
        stop_waiting()  # a process with threads must not fork
        gc.freeze()  # forks share the objects of the libraries and do not scan them for cycles
        gc.enable()
        forks: list[_Fork] = []
        while owner_ended not in (ready := wait([owner_ended, listener, *_handles(forks)])):
            _finish([fork for fork in forks if fork.client in ready and fork.ended not in ready], abandoned=True)
            _finish([fork for fork in forks if fork.ended in ready])
            forks = [fork for fork in forks if fork.ended not in ready and fork.client not in ready]
            if listener in ready:
                forks += _fork_stage(listener, owner_ended, forks)
        _finish(forks, abandoned=True)
    _remove_files(address)


def _abandon(address: Path) -> NoReturn:
    _remove_files(address)
    os._exit(1)


def _remove_files(address: Path) -> None:
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
    server, child = os.getpid(), os.fork()
    if child == 0:
        try:
            die_with_parent(server)
            listener.close()
            os.close(owner_ended)
            for connection in (client, *(other.client for other in others)):
                connection.close()
            for other in others:
                os.close(other.ended)
            _run_job(job, streams)
        finally:
            os._exit(1)  # a second Ctrl-C while the fork ends must not continue in the server's loop
    for stream in streams:
        os.close(stream)
    with contextlib.suppress(ConnectionError):  # a client that has ended is seen by `wait`
        client.send(child)
    return [_Fork(child, os.pidfd_open(child), client)]


def _finish(forks: Sequence[_Fork], abandoned: bool = False) -> None:
    """Send the exit statuses of forks to their clients; end them first if the client or the owner has ended."""
    if abandoned:
        _end(forks)
    for fork in forks:
        os.close(fork.ended)
        status = os.waitstatus_to_exitcode(os.waitpid(fork.process, 0)[1])
        with fork.client, contextlib.suppress(ConnectionError):
            fork.client.send(status)


def _end(forks: Sequence[_Fork]) -> None:
    """Terminate forks, and kill those that do not end in time."""
    end = time.monotonic() + GRACE_SECONDS
    for fork in forks:
        signal.pidfd_send_signal(fork.ended, signal.SIGTERM)
    for fork in forks:
        if not wait([fork.ended], max(0.0, end - time.monotonic())):
            signal.pidfd_send_signal(fork.ended, signal.SIGKILL)


def _run_job(job: Job, streams: list[int]) -> NoReturn:
    """Take over the stage's streams, folder, environment and arguments, import our code again and run the stage."""
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
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
        importlib.import_module(end_with.__module__).end_with(job.client)
        importlib.import_module(job.module).main()
    except SystemExit as error:
        exit_with(error)
    except KeyboardInterrupt:
        exit_as(-signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        exit_now(1)
    exit_now()
