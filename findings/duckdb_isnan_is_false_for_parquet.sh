#!/usr/bin/env bash
# duckdb 2.0.1: `where not isnan(similarity)` keeps all NaN of a Parquet file that polars or PyArrow has written.
#
# Expected: a condition on a file gives the rows that it gives on a table with the same rows; at most it is slower.
#           Statistics in Parquet say nothing about NaN: the format wants them left out of minimum and maximum.
# Happens:  DuckDB takes NaN for the greatest number and a file's maximum for the greatest number in it, so where the
#           maximum is a number there is no NaN. isnan() is then false without a look at the rows: below, 0 of 1,976
#           NaN are found, `not isnan` keeps them all, and so does a copy that was cleaned with it. `between 0.3 and 1`
#           returns 1,357 NaN. `> 0.3` should return every NaN by DuckDB's own order and returns those of some row
#           groups: with its opposite it makes 99,381 of 100,000 rows. In a table, and in files that DuckDB wrote, all
#           is right; so is isnan() in 1.4.3. Pairs that are chosen by similarity so train on pictures that had no
#           vector, after a check that found none of them. PyArrow prunes alike: ~(similarity > 0.3) as a filter of
#           read_table returns 695 rows fewer than the same filter on the table. polars is right.
# Do:       isfinite(), which is right in all of them; null in place of NaN before writing (polars' fill_nan(None)).
# Versions: duckdb 2.0.1 and 1.4.3, polars 2.1.0, pyarrow 26.0.1, numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: our Parquet tables in DuckDB, and similarities from outside; ours are read by polars
#           (pipeline_lib/artifacts/read.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
python3 -m venv "$folder/older"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  duckdb==2.0.1 polars==2.1.0 pyarrow==26.0.1 numpy==2.4.6
"$folder/older/bin/python" -m pip install --quiet --disable-pip-version-check duckdb==1.4.3
cd "$folder"
venv/bin/python - <<'PYTHON'
import sys
from importlib.metadata import version

import duckdb
import numpy as np
import polars as pl
import pyarrow.compute as pc
import pyarrow.parquet as pq

names = ("duckdb", "polars", "pyarrow", "numpy")
print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
SHOPS, PAIRS = 20, 5_000  # a shop is a row group
draw = np.random.default_rng(0)
similarity = draw.normal(np.repeat(np.linspace(0.1, 0.5, SHOPS), PAIRS), 0.02)
similarity[draw.random(len(similarity)) < 0.02] = np.nan
pairs = pl.DataFrame({"id": np.arange(len(similarity)), "similarity": similarity})
pairs.write_parquet("pairs.parquet", row_group_size=PAIRS)
bad = int(pairs["similarity"].is_nan().sum())
lazily = pl.scan_parquet("pairs.parquet").filter(pl.col("similarity").is_nan()).collect().height
print(f"{pairs.height:,} pairs, {bad:,} with NaN; polars finds {lazily:,} in the file")


def rows(source, condition):
    """Return how many rows DuckDB returns, and how many of them have no number."""
    found = duckdb.sql(f"select similarity from {source} where {condition}").fetchnumpy()["similarity"]
    return len(found), int(np.isnan(found).sum())


duckdb.sql("create table stored as select * from 'pairs.parquet'")
duckdb.sql("copy stored to 'own.parquet' (format parquet)")
seen = {}
for condition in (
    "isnan(similarity)", "not isnan(similarity)", "isfinite(similarity)", "similarity between 0.3 and 1",
    "similarity > 0.3", "not (similarity > 0.3)",
):
    seen[condition] = [rows(source, condition) for source in ("'pairs.parquet'", "stored", "'own.parquet'")]
    parts = [f"{count:,} ({empty:,} NaN)" for count, empty in seen[condition]]
    print(f"{condition}: file {parts[0]}, table {parts[1]}, DuckDB's own file {parts[2]}")
duckdb.sql("copy (select * from 'pairs.parquet' where not isnan(similarity)) to 'clean.parquet' (format parquet)")
left = int(pl.read_parquet("clean.parquet")["similarity"].is_nan().sum())
both = seen["similarity > 0.3"][0][0] + seen["not (similarity > 0.3)"][0][0]
print(f"NaN in the cleaned copy: {left:,}; rows above 0.3 and not above 0.3: {both:,}")
low = ~(pc.field("similarity") > 0.3)
arrow = pq.read_table("pairs.parquet").filter(low).num_rows, pq.read_table("pairs.parquet", filters=low).num_rows
print(f"PyArrow, not above 0.3: {arrow[0]:,} rows of the table, {arrow[1]:,} of the file")
wrong = seen["isnan(similarity)"][0][0] == 0 and left == bad and seen["similarity between 0.3 and 1"][0][1] > 0
right = all(own == table for _, table, own in seen.values()) and seen["isfinite(similarity)"][0][1] == 0
if not (wrong and right and both < pairs.height and arrow[1] < arrow[0] and lazily == bad):
    sys.exit("the behaviour has changed")
PYTHON
older/bin/python - <<'PYTHON'
import duckdb

found = duckdb.sql("select similarity from 'pairs.parquet' where isnan(similarity)").fetchall()
print(f"duckdb {duckdb.__version__}, isnan(similarity): file {len(found):,}")
PYTHON
