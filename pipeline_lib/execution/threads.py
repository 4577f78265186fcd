"""Process-wide settings of a stage: how OpenMP threads spin, when Python collects garbage, and what Ctrl-C prints.

Import this module before torch, because torch reads the OpenMP setting when it is imported.
**OpenMP.** By default a waiting libgomp thread spins without limit, on a core that other processes may need. One
training step of the sample's towers on 2 cores: alone 62 to 77 ms with and without the limit; two runs side by side 350
ms each, with the limit 190; at a machine load of 3 to 5, 900 to 2,700 ms, with the limit 350 to 630. With
OMP_WAIT_POLICY=passive it took 145 ms under load and 10 % more alone.
**Garbage collection.** Importing torch, timm and transformers creates millions of objects, and Python scans them for
cycles after every 700 new ones. A larger threshold reduces the CPU time of embed's imports from 6.1 to 5.5 seconds
(minimum of four runs; 5.1 without any collection).
"""

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from pipeline_lib.execution.allocator import keep_freed_memory

SPIN_COUNT = "2000"
GC_THRESHOLD = 20_000

# The user's own setting wins.
if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
gc.set_threshold(GC_THRESHOLD)
keep_freed_memory()


INTERRUPTED = "interrupted (SIGINT)\n"
# Seconds until a Ctrl-C is raised again that Python could not raise where it came.
AGAIN = 0.02
_seen: list[int] = []
# What was there before, such as the hooks of a test runner, still gets everything else.
_print_exception, _print_unraisable = sys.excepthook, sys.unraisablehook


def note_interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, and remember it: imports of libraries may catch it, go on half made and fail later."""
    _seen.append(number)
    signal.default_int_handler(number, frame)


def print_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print one line for Ctrl-C, which ends the imports of a stage here, and the traceback of anything else."""
    if issubclass(kind, KeyboardInterrupt) or _seen:
        sys.stderr.write(INTERRUPTED)
    else:
        _print_exception(kind, error, trace)


def print_unraisable(
    unraisable: "sys.UnraisableHookArgs", otherwise: "Callable[[sys.UnraisableHookArgs], Any]" = _print_unraisable
) -> None:
    """Raise a Ctrl-C again that came in a destructor, where Python drops it; one that came at the end is one line.

    `otherwise` is bound here: at the end of a process the names of a module are None before the last destructors run.
    """
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        otherwise(unraisable)
    elif threading.main_thread().is_alive():
        main = threading.main_thread().ident or 0
        again = threading.Timer(AGAIN, signal.pthread_kill, (main, signal.SIGINT))
        again.daemon = True
        again.start()
    else:
        sys.stderr.write(INTERRUPTED)


if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, note_interrupt)
sys.excepthook = print_exception
sys.unraisablehook = print_unraisable
