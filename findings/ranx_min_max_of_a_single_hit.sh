#!/usr/bin/env bash
# ranx 0.3.21: the default of `fuse` gives the only hit of a list the score 0, as if the list had not found it.
#
# Expected: min-max normalisation brings the lists' scores to [0, 1], the best to 1; a weighted sum then favours what
#           either list is sure of. A query for an article number, for which BM25 finds the one right product and
#           nothing else, is the case that hybrid search is made for.
# Happens:  a list of one hit has the same minimum and maximum, so the hit becomes (score - minimum) / 1e-9 = 0, which
#           is what products get that are not in the list. The better the words say what is wanted, the less they
#           count: below, BM25 alone has the right product first for all 500 queries and the fusion for as many as the
#           vectors alone. Each list's last hit gets 0 as well, and `sum` and `zmuv` do the same to a single one.
#           Nothing is printed. Over a mix of queries the mean falls a little, and one tunes the weights, which cannot
#           help: any weight of 0 is 0.
# Do:       norm="max" for scores from 0 on, norm="rank", or method="rrf" for any.
# Versions: ranx 0.3.21, numpy and numba as pip chooses them for it, Python 3.11.7
# Date:     2026-11-30
# Matters for: fusing our prediction files with BM25 outside; ours are fused by ranks or similarities
#           (pipeline_lib/ensembling).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check ranx==0.3.21
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from ranx import Qrels, Run, evaluate, fuse

names = ("ranx", "numpy", "numba")
print(", ".join(f"{name} {version(name)}" for name in names), f"Python {sys.version.split()[0]}")
draw = np.random.default_rng(0)
right, words, vectors = {}, {}, {}
for number in range(500):
    query, product = f"q{number}", f"p{number}"
    right[query], words[query] = {product: 1}, {product: 14.0}
    candidates = [f"p{other}" for other in draw.choice(np.arange(500, 5_000), 50, replace=False)]
    candidates.insert(min(50, int(draw.exponential(6))), product)
    vectors[query] = dict(zip(candidates, np.sort(draw.uniform(0.2, 0.35, 51))[::-1].tolist(), strict=True))
truth, bm25, dense = Qrels(right), Run(words), Run(vectors)
found = {
    "BM25 alone": bm25,
    "vectors alone": dense,
    "fuse as it comes (min-max, weights .5 and .5)": fuse([bm25, dense], params={"weights": (0.5, 0.5)}),
    "fuse, weights .9 and .1": fuse([bm25, dense], params={"weights": (0.9, 0.1)}),
    "fuse, norm=max": fuse([bm25, dense], norm="max", params={"weights": (0.5, 0.5)}),
    "fuse, method=rrf": fuse([bm25, dense], norm=None, method="rrf"),
}
first = {name: float(evaluate(truth, run, "hit_rate@1")) for name, run in found.items()}
for name, share in first.items():
    print(f"{name}: the right product is first for {100 * share:.1f} % of the queries")
default, alone = first["fuse as it comes (min-max, weights .5 and .5)"], first["vectors alone"]
if default != alone or first["fuse, weights .9 and .1"] != alone or first["fuse, norm=max"] != 1:
    sys.exit("the behaviour has changed")
PYTHON
