#!/usr/bin/env bash
# polars 2.1.0: with a seed, sample() and shuffle() draw the same place in every group: "a random photo of each product"
#             is the detail of all of them, and Recall@1 of the queries is .23, .66, .94 or .96, by the seed.
#
# Expected: a seed makes the draw of each group repeatable, and groups are drawn independently, as in pandas'
#           groupby().sample(random_state=0).
# Happens:  each group starts again from the seed, so groups of one length get the same places:
#           group_by("product").agg(pl.col("photo").sample(1, seed=0)) takes the second of four photos 1,000 times out
#           of 1,000, with seed 1 and 2 the last one. Groups of other lengths are not independent either: with seed 2
#           the last photo of all products with 2, 3 and 4 photos comes. shuffle(seed=0).over("product") does the same.
#           Photos of products have an order (front, side, back, detail), so such queries are all of one view: below,
#           Recall@1 of five seeds lies between .23 and .96, of five draws without a seed, in one run, between .67 and
#           .71. A share of each category for validation is drawn so too, and a bootstrap within groups. An interval
#           over the queries is narrow and all runs with that seed agree, so nothing looks wrong. The docstrings of
#           sample and shuffle say no more than that a seed is "for the random number generator".
# Do:       draw over the whole table, then take the first of each group: df.sample(fraction=1, shuffle=True, seed=0)
#           .group_by("product", maintain_order=True).first(); or pl.set_random_seed(0) and no seed in agg().
# Versions: polars 2.1.0 and 1.30.0, pandas 3.1.1 (by pyarrow 26.0.1), numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: samples that are drawn by polars from our tables; our folds are cut in an order of hashes
#           (pipeline_lib/splitting/stratify.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
python3 -m venv "$folder/older"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check polars==2.1.0 pandas==3.1.1 \
  pyarrow==26.0.1 numpy==2.4.6
"$folder/older/bin/python" -m pip install --quiet --disable-pip-version-check polars==1.30.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
import polars as pl

names = ("polars", "pandas", "pyarrow", "numpy")
print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
PRODUCTS, WIDTH = 1_000, 64
VIEWS = {"front": 0.6, "side": 1.1, "back": 1.6, "detail": 2.4}  # how far a view is from the product's own vector
draws = np.random.default_rng(0)
photos = pl.DataFrame({"product": np.repeat(np.arange(PRODUCTS), 4), "photo": np.arange(4 * PRODUCTS)})
photos = photos.with_columns(view=pl.Series([*VIEWS] * PRODUCTS))
own = draws.normal(size=(PRODUCTS, WIDTH))
spread = np.array([*VIEWS.values()])[None, :, None]
vectors = (own[:, None] + spread * draws.normal(size=(PRODUCTS, 4, WIDTH))).reshape(-1, WIDTH)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
similar = vectors @ vectors.T


def judged(name, queries):
    """Print and return the views of the queries and the Recall@1 among the photos that are no query."""
    rows = np.sort(np.asarray(queries))
    assert len(set(rows // 4)) == PRODUCTS
    scores = similar[rows]
    scores[:, rows] = -2
    recall = float((scores.argmax(1) // 4 == rows // 4).mean())
    counts = {view: int((rows % 4 == place).sum()) for place, view in enumerate(VIEWS)}
    print(f"{name}: {counts}, Recall@1 {recall:.2f}", flush=True)
    return recall, max(counts.values())


def of_each(**seed):
    return photos.group_by("product").agg(pl.col("photo").sample(1, **seed).first())["photo"]


seeded = [judged(f"sample(1, seed={seed}) in agg()", of_each(seed=seed)) for seed in range(5)]
first = pl.col("photo").shuffle(seed=0).over("product")
judged("first of shuffle(seed=0).over()", photos.with_columns(first)[::4]["photo"])
free = [judged("sample(1) in agg()", of_each()) for _ in range(5)]
pl.set_random_seed(0)
judged("sample(1) in agg() after set_random_seed(0)", of_each())
whole = photos.sample(fraction=1, shuffle=True, seed=0).group_by("product", maintain_order=True).first()["photo"]
right = judged("first of a shuffled table, seed=0", whole)
drawn = photos.to_pandas().groupby("product").sample(1, random_state=0)["photo"]
pandas = judged("pandas, groupby().sample(random_state=0)", drawn)
lengths = draws.integers(2, 7, PRODUCTS)
mixed = pl.DataFrame({"product": np.repeat(np.arange(PRODUCTS), lengths)})
mixed = mixed.with_columns(place=1 + pl.int_range(pl.len()).over("product"), photos=pl.len().over("product"))
drawn = mixed.group_by("product").agg(pl.col("place").sample(1, seed=2).first(), pl.col("photos").first())
places = {length: sorted(set(part["place"])) for (length,), part in sorted(drawn.group_by("photos"))}
print("seed=2, number of photos of a product and the places that are drawn:", places)
if not all(largest == PRODUCTS for _, largest in seeded) or any(len(found) > 1 for found in places.values()):
    sys.exit("the behaviour has changed")
spans = [max(part)[0] - min(part)[0] for part in (seeded, free)]
if not (spans[0] > 0.5 and spans[1] < 0.1) or max(right[1], pandas[1]) > 400:
    sys.exit("the behaviour has changed")
PYTHON
"$folder/older/bin/python" - <<'PYTHON'
import sys

import polars as pl

photos = pl.DataFrame({"product": [row // 3 for row in range(300)], "photo": [1, 2, 3] * 100})
drawn = photos.group_by("product").agg(pl.col("photo").sample(1, seed=0).first())["photo"].to_list()
print(f"polars {pl.__version__}, 100 products of three photos: the places {sorted(set(drawn))} are drawn")
if len(set(drawn)) > 1:
    sys.exit("the behaviour has changed")
PYTHON
