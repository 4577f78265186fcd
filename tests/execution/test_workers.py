"""Workers die with the process that started them, whatever they are doing, and print nothing at Ctrl-C."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from endings import still_running
from forked import forked, forks_of

from pipeline_lib.execution.forkserver import SWITCH

ROOT = Path(__file__).parents[2]
MAPS = """
import time
from pipeline_lib.execution.parallel import map_parallel
print(*map_parallel(time.sleep, [30] * 8, 2))
"""


def start_map() -> subprocess.Popen[str]:
    """Start a process that starts loky workers, and wait until the first one appears."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", MAPS], env=environment, stderr=subprocess.PIPE, start_new_session=True, text=True
    )
    wait_until(lambda: workers_of(process))
    return process


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "popen_loky_posix" in " ".join(child.cmdline())]


def wait_until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.5, 2.0])
def test_workers_end_with_a_process_that_is_killed_while_they_start(seconds):
    process = start_map()
    time.sleep(seconds)
    started = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert still_running(started, 10) == []
    process.communicate()


@pytest.mark.parametrize("seconds", [0.1, 2.0])
def test_ctrl_c_is_answered_by_the_main_process_alone(seconds):
    process = start_map()
    time.sleep(seconds)
    started = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    stderr = process.communicate(timeout=30)[1]
    assert stderr.count("Traceback") == stderr.count("KeyboardInterrupt") == 1
    assert still_running(started, 10) == []


def test_a_loader_worker_dies_in_the_middle_of_an_item(fork_server):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests/support")])}
    client = subprocess.Popen(forked("sleeping_loader"), env=environment | {SWITCH: str(fork_server)})
    found: list[psutil.Process] = []

    def works() -> bool:
        for fork in forks_of(fork_server):
            with contextlib.suppress(psutil.NoSuchProcess):  # the server's imports start processes as well
                found[:] = [fork, *fork.children()]
        return len(found) > 1

    wait_until(works)
    fork, *workers = found
    time.sleep(0.5)
    fork.kill()
    assert still_running(workers, 4) == []
    client.wait()
