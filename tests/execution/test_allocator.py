"""Memory that a stage frees stays in its process, unless the user has set how the C library hands it back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_lib.execution.allocator import TUNABLES, VARIABLES

ROOT = Path(__file__).parents[2]
# Page faults of writing to 64 MB that were used and freed before, as a batch uses what the batch before it freed.
FAULTS = """
import resource
import pipeline_lib.execution.threads
import numpy
def use():
    numpy.ones(64 << 20, numpy.uint8)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
# The pages of 64 MB, if the kernel maps 2 MB with one fault.
FEWEST = 32


@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}), reason="mallopt is of glibc")
@pytest.mark.parametrize(
    ("variables", "stays"),
    [
        ({}, True),
        ({"MALLOC_MMAP_THRESHOLD_": "131072"}, False),
        ({"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"}, False),
        ({"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F"}, True),
    ],
)
def test_freed_memory_is_used_again_without_page_faults_unless_the_user_chose(variables, stays):
    unset = (*VARIABLES, TUNABLES)
    environment = {name: value for name, value in os.environ.items() if name not in unset} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", FAULTS]
    done = subprocess.run(command, env=environment | variables, capture_output=True, text=True, check=True)
    assert (int(done.stdout) < FEWEST) == stays
