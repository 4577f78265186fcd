#!/usr/bin/env bash
# datasketch 2.0.0: of ten hits of MinHashLSHForest the first is the right title in .09 to .11 of the cases, and the
#             ten have it in all; of one hit in .995.
#
# Expected: query(minhash, k) returns "the approximate top-k keys that have the (approximately) highest Jaccard
#           similarities", with the highest first, as a search does.
# Happens:  the hits are collected in a set, and the list of it is in the order of the hashes of the keys: for texts
#           another one in every process. The right one is first in one of k cases, so whoever takes the first hit as
#           the near copy of a title draws one of ten, while Recall@10 is right, and so is a trial with k=1. The list
#           of MinHashLSH has no order either. (A change for it, datasketch's pull request 215, has been open since
#           2023.)
# Do:       sort the hits by jaccard() of the sketches, which is right for all here; ask for more hits than are
#           wanted.
# Versions: datasketch 2.0.0, numpy 2.4.6, scipy 1.17.1, Python 3.11.7
# Date:     2026-11-30
# Matters for: titles that are compared outside before a catalogue is built; ours are compared by their photos
#           (pipeline_lib/catalogue/duplicates.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check datasketch==2.0.0 numpy==2.4.6 \
  scipy==1.17.1
cat > "$folder/trial.py" <<'PYTHON'
import os
import sys
from importlib.metadata import version

import numpy as np
from datasketch import MinHash, MinHashLSH, MinHashLSHForest

PRODUCTS, VARIANTS, WORDS, QUERIES = 400, 5, 3_000, 200
if os.environ["PYTHONHASHSEED"] == "0":
    names = ("datasketch", "numpy", "scipy")
    print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
draws = np.random.default_rng(0)


def words(number):
    return {f"word{word}" for word in draws.choice(WORDS, number, replace=False)}


def sketch(title):
    made = MinHash(num_perm=128)
    made.update_batch([word.encode() for word in title])
    return made


# Five variants of a product have nine words of the title in common, and three of their own.
titles = [common | words(3) for common in (words(9) for _ in range(PRODUCTS)) for _ in range(VARIANTS)]
sketches = [sketch(title) for title in titles]
forest, lsh = MinHashLSHForest(num_perm=128), MinHashLSH(threshold=0.5, num_perm=128)
for row, made in enumerate(sketches):
    forest.add(f"p{row:04}", made)
    lsh.insert(f"p{row:04}", made)
forest.index()
answer = draws.choice(len(titles), QUERIES, replace=False)
asked = [sketch(sorted(titles[row])[1:]) for row in answer]  # a word of the title is missing


def recall(found):
    """Return the share of queries whose product is first, and among the hits."""
    wanted = [f"p{row:04}" for row in answer]
    first = np.mean([hits[:1] == [one] for hits, one in zip(found, wanted, strict=True)])
    among = np.mean([one in hits for hits, one in zip(found, wanted, strict=True)])
    return round(float(first), 3), round(float(among), 3)


def by_jaccard(query, hits):
    return sorted(hits, key=lambda hit: -query.jaccard(sketches[int(hit[1:])]))


result = {}
for number in (1, 3, 5, 10):
    found = [forest.query(made, number) for made in asked]
    result[number] = recall(found), recall([by_jaccard(*one) for one in zip(asked, found, strict=True)])
found = [lsh.query(made) for made in asked]
result["lsh"] = recall(found), recall([by_jaccard(*one) for one in zip(asked, found, strict=True)])
print(f"process {os.environ['PYTHONHASHSEED']}:")
for number, ((first, among), (best, _)) in result.items():
    name = "MinHashLSH" if number == "lsh" else f"forest.query(sketch, {number})"
    print(f"  {name}: the right product is first {first}, among the hits {among}, first if sorted by jaccard {best}")
print(f"  the hits of the first query: {forest.query(asked[0], 5)}, right is p{answer[0]:04}")
if result[1][0][0] < 0.98 or result[10][0][0] > 0.2 or result[10][0][1] < 0.98 or result[10][1][0] < 0.98:
    sys.exit("the behaviour has changed")
PYTHON
for seed in 0 1 2; do
  PYTHONHASHSEED=$seed "$folder/venv/bin/python" "$folder/trial.py"
done
