"""Whether a process that left a file or a folder behind still runs."""

import psutil


def is_running(process: int) -> bool:
    """Return whether a process runs; one that its parent has not waited for yet has ended."""
    try:
        return psutil.Process(process).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # it is another user's
        return True
