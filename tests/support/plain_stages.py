"""Runs command lines of stages one after another, each in a process of its own, as `python -m` does."""

import os
import runpy
import sys

from pipeline_lib.execution.forkserver import SWITCH
from pipeline_lib.execution.import_closure import PACKAGES


def main() -> None:
    """Read `python -m MODULE ...` from each line of stdin; after the last one print why DVC cannot be imported."""
    del os.environ[SWITCH]
    for line in sys.stdin.read().splitlines():
        child = os.fork()
        if child == 0:
            module, *arguments = line.split()[2:]
            sys.argv = [module, *arguments]
            for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
                del sys.modules[name]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            sys.stdout.flush()
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            sys.exit(f"{line}: exit status {status}")
    try:
        import dvc  # noqa: F401
    except ImportError as error:
        print(error)
