"""Runs modules in forks of the tests' fork server, which has imported torch: a new process needs 9 s of CPU for that.

`python forked.py N -m MODULE ...` is a launcher for VITRINE_LAUNCH: it starts N processes as torchrun does, all of them
forks of one fork of the server. `torchrun --no-python python forked.py rank -m MODULE ...` is one too: each process
that torchrun starts waits for a fork.
"""

import contextlib
import importlib
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Client
from multiprocessing.reduction import send_handle
from pathlib import Path
from typing import NoReturn

import psutil

from pipeline_lib.execution import locks
from pipeline_lib.execution.forks import Job
from pipeline_lib.execution.forkserver import run_stage
from pipeline_lib.execution.owners import LAUNCHED
from pipeline_lib.execution.stage import exit_now

# With LAUNCHED set, a process does not ask the server for a fork; the launcher passes its value under this name.
FOLDER = "LAUNCHED_FOLDER"
TORCHRUN = f"{sys.executable} -m torch.distributed.run --nproc-per-node 2"
# torchrun itself, but its two processes are forks.
FORKED_TORCHRUN = f"{TORCHRUN} --no-python {shlex.join([sys.executable, __file__])} rank"
# How long the launched processes wait for a lock, where a test holds it all the time.
LOCK_SECONDS = "TEST_LOCK_SECONDS"


def forked(module: str) -> list[str]:
    """Return the command line that runs `main` of a module in a fork; arguments may follow."""
    code = f"from pipeline_lib.execution.forkserver import run_stage; run_stage({module!r}, lambda: exit('no server'))"
    return [sys.executable, "-c", code]


def run_in_fork(
    server: Path, module: str, argv: Sequence[str], folder: Path, environment: dict[str, str], search: Sequence[str],
    stdin: str = "", check: bool = True,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run `main` of a module in a fork of a server and wait for it; `search` comes first on its search path.

    This process is the client, so no other one is started.
    """
    libraries = [path for path in sys.path if path.startswith((sys.prefix, sys.base_prefix))]
    job = Job(os.getpid(), module, list(argv), [*search, *libraries], str(folder), environment)
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        given.write(stdin.encode())
        given.seek(0)
        with Client(str(server), "AF_UNIX") as client:
            client.send(job)
            for stream in (given, out, errors):
                send_handle(client, stream.fileno(), None)
            client.recv()
            status = client.recv()
        texts = []
        for stream in (out, errors):
            stream.seek(0)
            texts.append(stream.read().decode())
    done = subprocess.CompletedProcess([module, *argv], status, *texts)
    assert not check or status == 0, f"{done.args}\n{done.stdout}\n{done.stderr}"
    return done


def wait_for_server(server: subprocess.Popen, address: Path) -> None:
    """Wait until a server that was just started listens."""
    end = time.monotonic() + 60
    while True:
        assert server.poll() is None and time.monotonic() < end
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError), Client(str(address), "AF_UNIX"):
            return
        time.sleep(0.02)


def launcher(processes: int) -> str:
    """Return the command line for VITRINE_LAUNCH."""
    return shlex.join([sys.executable, __file__, str(processes)])


def process_of(server: Path) -> psutil.Process:
    """Return the process of a server that is a child of this one."""
    return next(child for child in psutil.Process().children() if str(server) in child.cmdline())


def forks_of(server: Path) -> list[psutil.Process]:
    """Return the stages that the server runs now."""
    return process_of(server).children()


def main() -> None:
    """Fork all ranks and wait for them, which fails if one of them fails; or be the rank that torchrun has started."""
    os.environ[LAUNCHED] = os.environ.pop(FOLDER)
    locks.WAIT_SECONDS = float(os.environ.get(LOCK_SECONDS, locks.WAIT_SECONDS))
    what, module, arguments = sys.argv[1], sys.argv[3], sys.argv[4:]
    sys.argv = [module, *arguments]
    if what == "rank":
        importlib.import_module(module).main()
        return
    count = int(what)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    children = []
    for rank in range(count):
        child = os.fork()
        if child == 0:
            _run_rank(rank, count, module)
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    if any(statuses):
        raise SystemExit("pages of launcher output")


def _run_rank(rank: int, count: int, module: str) -> NoReturn:
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ |= {name: str(value) for name, value in names.items()}
    try:
        importlib.import_module(module).main()
    except SystemExit as error:
        exit_now(int(error.code or 0))
    except BaseException:
        traceback.print_exc()
        exit_now(1)
    exit_now()


if __name__ == "__main__":
    os.environ[FOLDER] = os.environ.pop(LAUNCHED)
    run_stage("forked", lambda: sys.exit("the fork server has ended"))
