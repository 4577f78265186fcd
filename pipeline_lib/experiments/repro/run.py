"""Runs the stages of a DVC project, independent ones side by side: the same outs, hashes and dvc.lock as `dvc repro`.

Each stage runs as `dvc repro --single-item` in a process of its own, after all stages that it depends on. DVC 3.67
holds the lock of the repository only while it reads and writes its files, not while the command of a stage runs. Each
stage has as many threads as under `dvc repro`, because sums of another number of threads have other last bits.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from pipeline_lib.execution.forkserver import SWITCH, is_enabled, secure_folder
from pipeline_lib.experiments.repro.dag import Dag
from pipeline_lib.experiments.repro.memory import StageMemory
from pipeline_lib.experiments.repro.processes import Children, start_fork_server
from pipeline_lib.experiments.repro.schedule import Schedule

POLL_SECONDS = 0.5
MEASURE_SECONDS = 2.0


def reproduce(targets: Sequence[str], jobs: int) -> str:
    """Run what has changed, at most `jobs` stages at once, and return a line that counts the stages.

    A failed stage stops those that depend on it; the others still run. Raises ValueError that names both. Ctrl-C and
    SIGTERM end all children, as KeyboardInterrupt.
    """
    start = time.monotonic()
    with terminated_as_interrupt(), Dag(targets) as dag:
        run = _Run(dag, jobs)
        try:
            run.until_done()
        finally:
            run.close()
    if run.schedule.failed:
        stopped = run.schedule.not_started()
        raise ValueError(
            f"failed: {', '.join(run.schedule.failed)} (messages above)"
            + (f"; not started, because they depend on it: {', '.join(stopped)}" if stopped else "")
        )
    ran, seconds = len(run.started), time.monotonic() - start
    return f"{ran} stages ran, {len(dag.deps) - ran} had not changed; {seconds:.1f} s"


class _Run:
    def __init__(self, dag: Dag, jobs: int) -> None:
        self.schedule = Schedule(dag.deps)
        self.started: list[str] = []
        self._dag = dag
        self._jobs = jobs
        self._children = Children()
        self._memory = StageMemory(jobs)
        self._changed: set[str] = set()
        self._waits: set[str] = set()
        self._used: dict[str, int] = {}
        self._measured = 0.0
        self._server = _SharedServer()

    def until_done(self) -> None:
        """Start stages as others end, until none is left that can start."""
        while self._start_ready() or self._children.running:
            for name, status in self._children.wait(POLL_SECONDS):
                self._memory.end(name)
                self.schedule.end(name, succeeded=status == 0)
            self._measure()

    def _measure(self) -> None:
        """Measure the memory of the running stages, at most once in MEASURE_SECONDS."""
        if time.monotonic() < self._measured + MEASURE_SECONDS:
            return
        self._measured, self._used = time.monotonic(), self._children.memory()
        for name, used in self._used.items():
            self._memory.observe(name, used)

    def _start_ready(self) -> bool:
        """Start the ready stages that fit; return whether any has started, needed no run, or is not known yet."""
        chosen: list[str] = []
        unchanged: list[str] = []
        ready = self.schedule.ready()
        for name in ready:
            changed = name in self._changed or self._dag.has_changed(name)
            if changed is False:
                unchanged.append(name)
            elif changed:
                self._changed.add(name)
                if len(self._children.running) + len(chosen) < self._jobs and self._fits(name, chosen):
                    chosen.append(name)
        for name in unchanged:
            self.schedule.start(name)
            self.schedule.end(name, succeeded=True)
        for name in chosen:
            self.schedule.start(name)
            self.started.append(name)
            self._children.start(name, self._server.variables(self._dag.command(name)))
        return bool(ready)

    def _fits(self, name: str, chosen: list[str]) -> bool:
        """Return whether memory allows a stage beside the others; one alone may always run."""
        running = {other: self._used.get(other, 0) for other in (*self._children.running, *chosen)}
        if not running or self._memory.fits(name, running):
            return True
        if name not in self._waits:
            needed = self._memory.expected(name) / 1e9
            sys.stdout.write(f"{name} | waits for memory: it needs {needed:.1f} GB beside {', '.join(running)}\n")
            self._waits.add(name)
        return False

    def close(self) -> None:
        """End what still runs."""
        self._children.interrupt()
        self._server.stop()
        self._memory.save()


class _SharedServer:
    """One fork server for all stages that import torch; it starts with the first of them."""

    def __init__(self) -> None:
        self._address = Path(".dvc", "tmp", "vitrine", f"repro-{os.getpid()}.socket")
        self._enabled = is_enabled() and SWITCH not in os.environ
        self._server: subprocess.Popen[bytes] | None = None

    def variables(self, command: str) -> dict[str, str]:
        """Return the environment of a stage with this command, after the server has started if it needs one."""
        module = re.match(r"python -m (stages\.\w+)", command)
        if not self._enabled or not module or "run_stage" not in _source(module[1]):
            return {}
        if self._server is None:
            if reason := secure_folder(self._address.parent):
                self._enabled = False
                sys.stderr.write(f"stages import torch themselves: {reason}\n")
                return {}
            self._server = start_fork_server(self._address)
        return {SWITCH: str(self._address)}

    def stop(self) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.wait()
            self._address.unlink(missing_ok=True)


def _source(module: str) -> str:
    return Path(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")


@contextmanager
def terminated_as_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt in the block on SIGTERM, too."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
