"""Child processes that run one stage each as `dvc repro --single-item`: their output, memory and end.

Every child has a process group of its own, so that Ctrl-C reaches this process alone, which then ends all of them. The
processes of a stage are those whose standard output is the child's pipe. Its fork and loader workers are among them.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil

from pipeline_lib.execution.owners import die_with_parent
from pipeline_lib.experiments.recipes.run import environment

# How long children may take to end after Ctrl-C, before they are killed.
GRACE_SECONDS = 15.0


class Child:
    """One stage under DVC. Its lines are printed as `NAME | LINE`."""

    def __init__(self, name: str, variables: dict[str, str]) -> None:
        self.name = name
        command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", name]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=environment() | {"PYTHONUNBUFFERED": "1"} | variables, process_group=0,
            preexec_fn=partial(_prepare, os.getpid()),
        )  # fmt: skip
        assert self._process.stdout
        self._output = self._process.stdout.fileno()
        os.set_blocking(self._output, False)
        self.pipe = Path(f"/proc/self/fd/{self._output}").readlink()
        self._rest = b""
        # False while DVC reads and checks, and for a stage whose outs its cache has: their memory says nothing.
        self.runs_command = False

    def fileno(self) -> int:
        """Return the descriptor of the output, for a selector."""
        return self._output

    def print_output(self) -> bool:
        """Print the lines that have arrived; return False once the output has ended."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._output, 65536):
                *lines, self._rest = (self._rest + chunk).split(b"\n")
                self._print(lines)
            self._print([self._rest] if self._rest else [])
            return False
        return True

    def _print(self, lines: list[bytes]) -> None:
        for line in lines:
            self.runs_command |= line.startswith(b"Running stage ")
            sys.stdout.write(f"{self.name} | {line.decode(errors='replace')}\n")
        sys.stdout.flush()

    def status(self) -> int:
        """Wait for the end and return the exit status."""
        assert self._process.stdout
        self._process.stdout.close()
        return self._process.wait()

    def signal(self, number: int) -> None:
        """Send a signal to DVC and the processes of the stage that share its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _prepare(parent: int) -> None:
    """Let the child end with this process, and react to SIGINT even if a shell in the background has it ignored."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Children:
    """The children that run now."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.running: dict[str, Child] = {}

    def start(self, name: str, variables: dict[str, str]) -> None:
        """Start a stage."""
        child = self.running[name] = Child(name, variables)
        self._selector.register(child, selectors.EVENT_READ)

    def wait(self, seconds: float) -> Iterator[tuple[str, int]]:
        """Print what arrives within the time; yield the name and the exit status of each stage that ends."""
        for key, _ in self._selector.select(seconds):
            child = key.fileobj
            assert isinstance(child, Child)
            if not child.print_output():
                self._selector.unregister(child)
                del self.running[child.name]
                yield child.name, child.status()

    def memory(self) -> dict[str, int]:
        """Return the bytes that the processes of each stage whose command runs share with no other process."""
        of_pipe = {child.pipe: name for name, child in self.running.items() if child.runs_command}
        found = dict.fromkeys(of_pipe.values(), 0)
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error, OSError):
                name = of_pipe.get(Path(f"/proc/{process.pid}/fd/1").readlink())
                if name is not None:
                    found[name] += process.memory_full_info().uss
        return found

    def interrupt(self) -> None:
        """End all children as Ctrl-C does, so that DVC releases its locks; kill those that do not end in time."""
        end = time.monotonic() + GRACE_SECONDS
        for number in (signal.SIGINT, signal.SIGKILL):
            for child in self.running.values():
                child.signal(number)
            while self.running and (number == signal.SIGKILL or time.monotonic() < end):
                list(self.wait(0.1))


def start_fork_server(address: Path) -> subprocess.Popen[bytes]:
    """Start a fork server for the stages of this process in a `secure_folder`; it listens once `address` exists."""
    from pipeline_lib.execution import forkserver

    command = [sys.executable, "-m", forkserver.__name__, str(address), str(os.getpid())]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    while not address.exists() and server.poll() is None:
        time.sleep(0.02)
    return server
