#!/usr/bin/env bash
# polars 2.1.0: a frame of rows whose first 100 values of a column are whole numbers cuts the decimals off all others:
#             cosines of .99 are 0, and of 900 near copies of photos a limit of .9 finds 100.
#
# Expected: strict=True is the default and raises, in the words of the documentation, "if any data value does not
#           exactly match the given or inferred data type for that column".
# Happens:  the type comes from the first 100 rows (infer_schema_length). An integer column then takes 9.99 as 9 and
#           .99 as 0 and raises nothing, strict or not: pl.DataFrame of dicts and of tuples, from_dicts, a generator,
#           read_json and str.json_decode, boxes and vectors in lists too, and columns that the schema calls Int64;
#           map_rows after the first row. A dict of columns, map_elements and read_ndjson raise. Scores that are sorted,
#           with `1 if same_file else cosine` or from JSON whose writer shortens 1.0 to 1, as JavaScript does, begin
#           with whole numbers; so do boxes whose default is the whole photo, [0, 0, 1, 1]. Below, a list that begins
#           with 99 exact copies and one of shuffled rows are right. An open issue of polars (21329) since February
#           2025.
# Do:       schema_overrides={"cosine": pl.Float64}, infer_schema_length=None, or a dict of columns.
# Versions: polars 2.1.0, numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: scores and boxes of others that are made into tables row by row; our rows have a schema in which what is
#           measured is Float64 (pipeline_lib/artifacts/schemas.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check polars==2.1.0 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import json
import sys
from importlib.metadata import version

import numpy as np
import polars as pl

print(f"polars {version('polars')}, numpy {version('numpy')}, Python {sys.version.split()[0]}")
draws = np.random.default_rng(0)
COPIES, OTHERS, LIMIT, WIDTH = 900, 600, 0.9, 64


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def pairs(exact):
    """Return rows of pairs of photos, the most similar first: `exact` equal files, other near copies, and the rest."""
    first = unit(draws.normal(size=(COPIES + OTHERS, WIDTH)))
    noise = np.where(np.arange(COPIES + OTHERS) < COPIES, 0.2, 1.5)[:, None]
    second = unit(first + noise * unit(draws.normal(size=first.shape)))
    cosines = np.sort((first * second).sum(axis=1))[::-1]
    return [
        {"photo": f"{place}.jpg", "cosine": 1 if place < exact else float(cosine)}
        for place, cosine in enumerate(cosines)
    ]


def found(frame):
    return frame.filter(pl.col("cosine") >= LIMIT).height


def from_json(rows):
    with open("pairs.json", "w") as file:
        json.dump(rows, file)
    return pl.read_json("pairs.json")


def from_lines(rows):
    with open("pairs.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return pl.read_ndjson("pairs.jsonl")


def decoded(rows):
    return pl.Series([json.dumps(row) for row in rows]).str.json_decode().struct.unnest()


def shuffled(rows):
    return pl.DataFrame([rows[place] for place in draws.permutation(len(rows))])


QUIET = {
    "pl.DataFrame(rows)": pl.DataFrame,
    "pl.DataFrame(rows, strict=True)": lambda rows: pl.DataFrame(rows, strict=True),
    "pl.from_dicts(rows)": pl.from_dicts,
    "pl.DataFrame(generator)": lambda rows: pl.DataFrame(row for row in rows),
    "pl.DataFrame(tuples, orient='row')": lambda rows: pl.DataFrame(
        [(*row.values(),) for row in rows], schema=["photo", "cosine"], orient="row"
    ),
    "map_rows": lambda rows: (
        pl.DataFrame({"place": range(len(rows))})
        .map_rows(lambda row: (rows[row[0]]["cosine"],))
        .rename({"column_0": "cosine"})
    ),
    "read_json": from_json,
    "str.json_decode": decoded,
}
RIGHT = {
    "schema_overrides": lambda rows: pl.DataFrame(rows, schema_overrides={"cosine": pl.Float64}),
    "infer_schema_length=None": lambda rows: pl.DataFrame(rows, infer_schema_length=None),
    "rows shuffled": shuffled,
}
RAISING = {
    "dict of columns": lambda rows: pl.DataFrame({"cosine": [row["cosine"] for row in rows]}),
    "read_ndjson": from_lines,
}
rows = pairs(100)
below, quiet, right = pairs(99), {}, {}
by_first = found(QUIET["map_rows"](pairs(1)))
print(f"map_rows with 1 exact copy: {by_first} of {COPIES} near copies from {LIMIT} on")
for name, read in QUIET.items():
    frame = read(rows)
    quiet[name] = found(frame), found(read(below))
    print(f"{name}: {frame['cosine'].dtype}, {quiet[name][0]} of {COPIES} near copies from {LIMIT} on,", end=" ")
    print(f"with 99 exact ones {quiet[name][1]}")
for name, read in RIGHT.items():
    right[name] = found(read(rows))
    print(f"{name}: {right[name]} of {COPIES}")
raised = 0
for name, read in RAISING.items():
    try:
        read(rows)
    except (TypeError, pl.exceptions.PolarsError) as error:
        raised += 1
        print(f"{name}: {type(error).__name__}: {str(error).splitlines()[0][:90]}")
boxes = [{"box": [0, 0, 1, 1]}] * 100 + [{"box": [0.12, 0.05, 0.88, 0.97]}] * 900
frame = pl.DataFrame(boxes)
empty = sum(box == [0, 0, 0, 0] for box in frame["box"].to_list())
print(f"boxes of crops: {frame['box'].dtype}, {empty} of 900 crops are [0, 0, 0, 0]")
price = pl.DataFrame([{"price": 9.99}], schema={"price": pl.Int64})["price"][0]
print(f"a price of 9.99 in a column that the schema calls Int64: {price}")
if by_first != 1 or quiet.pop("map_rows") != (100, 99):
    sys.exit("the behaviour has changed")
if any(counts != (100, COPIES) for counts in quiet.values()) or any(count != COPIES for count in right.values()):
    sys.exit("the behaviour has changed")
if raised != len(RAISING) or empty != 900 or price != 9:
    sys.exit("the behaviour has changed")
PYTHON
