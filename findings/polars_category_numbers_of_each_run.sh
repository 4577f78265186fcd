#!/usr/bin/env bash
# polars 2.1.0: to_physical() of a Categorical gives the categories of one Parquet file other numbers in every few
#             processes.
#
# Expected: categories are numbered by their first row, from 0 on, so a file has the same numbers every time; casting
#           to Categorical and to_physical() is what one finds as the way to get class numbers in polars.
# Happens:  row groups are read by several threads, and the numbers are given in the order in which the threads come by.
#           Below, in six trials, 16 processes gave 2 to 5 numberings to a Categorical of 40 row groups, and 7 to 9 to
#           words that a lazy query casts. Some differ in a few rare categories, some in all: the process that
#           differed most from the first had 0 to 99 % of the rows in common with it. So a head of a classifier or a
#           table of category embeddings fits the process that trained it: evaluation in the next one is a little or
#           entirely wrong, and nothing is printed. One row group or one thread gives the same numbers always, so a
#           small trial and a machine of one core show nothing. Numbers are those of the process, not of the column:
#           after another Categorical they do not start at 0.
# Do:       cast to pl.Enum(sorted names), and store the names with the model.
# Versions: polars 2.1.0, numpy 2.4.6, Python 3.11.7, on 2 cores
# Date:     2026-11-30
# Matters for: class numbers made outside; ours are positions in a sorted list (pipeline_lib/loading/products.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check polars==2.1.0 numpy==2.4.6
cd "$folder"
cat > one_run.py <<'PYTHON'
"""Store the numbers of a file's categories, as training would use them, in a file."""

import sys

import numpy as np
import polars as pl

path, way, target = sys.argv[1:]
lazy = pl.scan_parquet(path)
if way == "cast":
    lazy = lazy.with_columns(pl.col("category").cast(pl.Categorical))
column = lazy.collect()["category"]
if way == "enum":
    column = column.cast(pl.Enum(column.unique().cast(pl.String).sort()))
np.save(target, column.to_physical().to_numpy())
PYTHON
venv/bin/python - <<'PYTHON'
import os
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import polars as pl

print(f"polars {version('polars')}, numpy {version('numpy')}, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
ROWS, CATEGORIES, RUNS = 400_000, 2_000, 16
weights = 1 / np.arange(10, CATEGORIES + 10)
drawn = np.random.default_rng(0).choice(CATEGORIES, ROWS, p=weights / weights.sum())
words = pl.DataFrame({"category": [f"category {number}" for number in drawn]})
names = words.with_columns(pl.col("category").cast(pl.Categorical))
words.write_parquet("words.parquet", row_group_size=10_000)
names.write_parquet("names.parquet", row_group_size=10_000)
names.write_parquet("one.parquet", row_group_size=ROWS)


def tried(name, path, way="read", threads=None):
    """Print and return how many numberings the processes have, and the least share of rows numbered as in the first."""
    settings = os.environ | ({"POLARS_MAX_THREADS": str(threads)} if threads else {})
    found = []
    for _ in range(RUNS):
        subprocess.run([sys.executable, "one_run.py", path, way, "found.npy"], check=True, env=settings)
        found.append(np.load("found.npy"))
    different = len({numbers.tobytes() for numbers in found})
    least = min(float(np.mean(numbers == found[0])) for numbers in found)
    print(
        f"{name}: {different} numberings in {RUNS} processes; as in the first at least {100 * least:.0f} % of the rows"
    )
    return different, least


stored = tried("Categorical in 40 row groups", "names.parquet")
cast = tried("words in 40 row groups, cast to Categorical", "words.parquet", "cast")
single = tried("Categorical in one row group", "one.parquet")
thread = tried("Categorical in 40 row groups, one thread", "names.parquet", threads=1)
enum = tried("cast to an Enum of the sorted names", "names.parquet", "enum")
if min(stored[0], cast[0]) < 2 or enum[0] > 1 or single[0] > 1:
    sys.exit("the behaviour has changed")
PYTHON
