#!/usr/bin/env bash
# pyarrow 26.0.1: to_numpy() of a category column gives every product without a category the last category of the list.
#
# Expected: a missing category is None, as in to_pylist(), to_pandas(), to_numpy() of a column of strings, and
#           to_numpy() of a single Array, in which this was mended years ago.
# Happens:  ChunkedArray.to_numpy(), which the column of a table has, puts the last name of the dictionary there. So do
#           np.asarray(table["category"]) and pd.Series(table["category"]). A column is a dictionary if pandas or polars
#           stored it as a category (then it is read back as one), or after dictionary_encode() or read_dictionary=.
#           Below, 40 % of 4,000 products have no category. No value is missing afterwards; the category that comes last
#           has 1,821 products in place of 202, and a classifier that is trained on these labels is right for .56 of the
#           test products, with the labelled products alone for .94. Which category it is depends on the writer: of a
#           file of pandas the last by the alphabet, of others the one whose first product comes last. The other rows,
#           the names and the number of rows are right, and nothing is printed.
# Do:       table["category"].cast(pa.string()).to_numpy(), or to_pandas().
# Versions: pyarrow 26.0.1, pandas 3.1.1, polars 2.1.0, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11.7
# Date:     2026-12-01
# Matters for: catalogues prepared outside; ours are read with polars (pipeline_lib/loading/products.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pyarrow==26.0.1 pandas==3.1.1 \
  polars==2.1.0 scikit-learn==1.9.1 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression

names = ("pyarrow", "pandas", "polars", "scikit-learn", "numpy")
print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
PRODUCTS, CATEGORIES, WIDTH, MISSING, SEEDS = 4_000, 12, 16, 0.4, 5


def stored(labels):
    """Write the labels as three libraries do; return the table that pyarrow reads of each file."""
    frame = pd.DataFrame({"category": pd.Categorical(labels)})
    frame.to_parquet("pandas.parquet")
    column = pl.Series("category", labels.tolist(), dtype=pl.String)
    column.cast(pl.Categorical).to_frame().write_parquet("polars.parquet")
    pq.write_table(pa.table({"category": pa.array(labels.tolist())}), "words.parquet")
    tables = {name: pq.read_table(f"{name}.parquet") for name in ("pandas", "polars", "words")}
    return tables | {"read_dictionary": pq.read_table("words.parquet", read_dictionary=["category"])}


def missing(values):
    return sum(value is None or value != value for value in values)


def trial(seed):
    draws = np.random.default_rng(seed)
    kinds = draws.normal(size=(CATEGORIES, WIDTH))
    truth = draws.integers(CATEGORIES, size=2 * PRODUCTS)
    vectors = kinds[truth] + 1.0 * draws.normal(size=(2 * PRODUCTS, WIDTH))
    words = np.array([f"category {number:02}" for number in truth], dtype=object)
    labels = words[:PRODUCTS].copy()
    labels[draws.random(PRODUCTS) < MISSING] = None

    def accuracy(found):
        """Train on the products that have a label; return the accuracy for the others, the test products."""
        has = ~pd.isna(found)
        model = LogisticRegression(max_iter=1_000).fit(vectors[:PRODUCTS][has], found[has].astype(str))
        return round(float(model.score(vectors[PRODUCTS:], words[PRODUCTS:].astype(str))), 3)

    figures = {}
    for name, table in stored(labels).items():
        column = table["category"]
        ways = {
            "to_numpy": column.to_numpy(),
            "asarray": np.asarray(column),
            "Series": pd.Series(column).to_numpy(),
            "to_pandas": column.to_pandas().astype(object).to_numpy(),
            "as strings": column.cast(pa.string()).to_numpy(),
            "one Array": column.combine_chunks().to_numpy(zero_copy_only=False),
        }
        counts = {way: missing(values) for way, values in ways.items()}
        scores = [accuracy(ways[way]) for way in ("to_numpy", "as strings")]
        kinds, sizes = np.unique(ways["to_numpy"][~pd.isna(ways["to_numpy"])].astype(str), return_counts=True)
        right = int(np.sum(labels == kinds[sizes.argmax()]))
        figures[name] = counts, *scores
        if seed == 0:
            print(f"{name}, read as {column.type}: products without a category {counts}")
            print(f"  the largest category is {kinds[sizes.argmax()]} with {sizes.max()} products, in truth {right}")
            print(f"  accuracy after to_numpy {scores[0]}, as strings {scores[1]}")
    return figures, missing(labels)


runs = [trial(seed) for seed in range(SEEDS)]
for name in runs[0][0]:
    print(f"{name}: accuracy of {SEEDS} seeds after to_numpy {[figures[name][1] for figures, _ in runs]},", end=" ")
    print(f"as strings {[figures[name][2] for figures, _ in runs]}")
for figures, without in runs:
    for name, (counts, wrong, right) in figures.items():
        sound = counts["to_pandas"] == counts["as strings"] == counts["one Array"] == without
        lost = counts["to_numpy"] == counts["asarray"] == counts["Series"] == 0
        if not sound or lost != (name != "words") or (lost and wrong > right - 0.1):
            sys.exit("the behaviour has changed")
PYTHON
