#!/usr/bin/env bash
# polars 2.1.0: a List column made of Python lists takes about 4.8 kB a row while it is made, a hundred times its size.
#
# Expected: a column of 123,403 lists with one path each is 5 MB, so making it takes some multiple of 5 MB.
# Happens:  the process grows by about 600 MB and three seconds, with or without a schema, as pl.DataFrame and as
#           pl.Series: a catalogue of a million photos needs 5 GB to list their paths. The same rows as a list of dicts
#           take 52 MB, and as a String column that `pl.concat_list` turns into lists 15 MB and .02 s. The columns are
#           equal.
# Versions: polars 2.1.0, Python 3.11.7
# Date:     2026-11-29
# Matters for: readers that give each product a list of photos (pipeline_lib/datasets/list_column.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check polars==2.1.0
cat >"$folder/measure.py" <<'PYTHON'
import resource
import sys
import time

import polars as pl

paths = [f"photos/{number:012d}.jpg" for number in range(123_403)]
ways = {
    "DataFrame of lists": lambda: pl.DataFrame({"media": [[path] for path in paths]}),
    "Series of lists": lambda: pl.Series("media", [[path] for path in paths], dtype=pl.List(pl.String)).to_frame(),
    "DataFrame of dicts": lambda: pl.DataFrame([{"media": [path]} for path in paths]),
    "concat_list": lambda: pl.DataFrame({"media": paths}).select(pl.concat_list("media")),
}
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
frame = ways[sys.argv[1]]()
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(f"{grown:.0f} {time.perf_counter() - start:.2f} {frame.estimated_size() / 1e6:.1f} {frame.hash_rows().sum()}")
PYTHON
"$folder/venv/bin/python" - "$folder/measure.py" <<'PYTHON'
import subprocess
import sys
from importlib.metadata import version

print(f"polars {version('polars')}, Python {sys.version.split()[0]}; 123,403 lists of one path")
grown, contents = {}, set()
for way in ("DataFrame of lists", "Series of lists", "DataFrame of dicts", "concat_list"):
    done = subprocess.run([sys.executable, sys.argv[1], way], check=True, capture_output=True, text=True)
    megabytes, seconds, size, content = done.stdout.split()
    grown[way] = float(megabytes)
    contents.add((size, content))
    print(f"{way:20} grows by {megabytes:>4} MB in {seconds} s to a frame of {size} MB")
if len(contents) != 1 or min(grown["DataFrame of lists"], grown["Series of lists"]) < 10 * grown["concat_list"]:
    sys.exit("the behaviour has changed")
PYTHON
