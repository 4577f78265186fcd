"""Waits for processes that are not our children: one that has ended counts as ended before anybody has reaped it.

`psutil.wait_procs` waits until a number is free, and the first process of a container may reap orphans every two
seconds only.
"""

import contextlib
import time
from collections.abc import Iterable

import psutil


def still_running(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until all processes have ended, and return those that still run after so many seconds."""
    end, left = time.monotonic() + seconds, [*processes]
    while (left := [process for process in left if _runs(process)]) and time.monotonic() < end:
        time.sleep(0.01)
    return left


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
