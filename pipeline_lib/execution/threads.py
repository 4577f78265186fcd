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
import sys
from types import TracebackType

SPIN_COUNT = "2000"
GC_THRESHOLD = 20_000

# The user's own setting wins.
if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
gc.set_threshold(GC_THRESHOLD)


def print_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print one line for Ctrl-C, which ends the imports of a stage here, and the traceback of anything else."""
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("interrupted (SIGINT)\n")
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = print_exception
