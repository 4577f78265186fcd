#!/usr/bin/env bash
# faiss-cpu 1.15.1: a thousand equal vectors in an HNSW index hide 14 % of the other products on average, and
#           efSearch hardly helps.
#
# Expected: products without a photo share the vector of the "no photo" picture, those without a description the vector
#           of the empty text. Such equal vectors crowd each other out: some of them are not found. Other products are
#           found as before, and what a small efSearch misses, a larger one finds.
# Happens:  FAISS leaves out a link to what is closer to a neighbour that was chosen before. Among equal vectors nothing
#           is closer, so a copy's links all go to copies, and a search that enters the copies, also the one that finds
#           links for a new product, does not get out. Below, with 1,000 copies beside 10,000 other products, 0 to 39 %
#           of the others are not found by their own vector, by the draw and the order (14 % on average of ten), and
#           with 1,024 for efSearch 0 to 36 %; without copies all are. An efConstruction of 200 in place of 40 helps
#           little. Nothing is printed, a benchmark without copies shows no loss, and one raises efSearch, which costs
#           time and hardly helps.
# Do:       add each distinct vector once, with a list of the products behind it; or add noise of .001 to the numbers of
#           each copy, after which nothing is lost. After a build, search for each product by its own vector.
# Versions: faiss-cpu 1.15.1, numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: `hnsw` in plan.index, which makes the links with such noise and then stores the vectors as they are
#           (pipeline_lib/retrieval/faiss_index.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check faiss-cpu==1.15.1 numpy==2.4.6
OMP_NUM_THREADS=1 "$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import faiss
import numpy as np

print(f"faiss-cpu {version('faiss-cpu')}, numpy {version('numpy')}, Python {sys.version.split()[0]}")
WIDTH, GOODS, COPIES, KINDS, QUERIES = 512, 10_000, 1_000, 100, 500
BEAMS = (64, 1_024)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def found(seed, copies=COPIES, noise=0.0, links=32, build_beam=40):
    """Return the share of other products that are first for their own vector, for each efSearch of BEAMS."""
    draw = np.random.default_rng(seed)
    scale = np.exp(-np.arange(WIDTH) / 40)
    kinds, mean = draw.standard_normal((KINDS, WIDTH)) * scale, 0.7 * draw.standard_normal((1, WIDTH)) * scale
    spread = 0.8 * draw.standard_normal((GOODS, WIDTH)) * scale
    goods = unit(kinds[draw.integers(0, KINDS, GOODS)] + spread + mean)
    same = np.repeat(unit(draw.standard_normal((1, WIDTH)) * scale + mean), copies, axis=0)
    same = unit(same + noise * draw.standard_normal(same.shape))
    order = draw.permutation(GOODS + copies)
    row = np.argsort(order)
    index = faiss.IndexHNSWFlat(WIDTH, links, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = build_beam
    index.add(np.concatenate([goods, same])[order])
    wanted = draw.choice(GOODS, QUERIES, replace=False)
    shares = []
    for index.hnsw.efSearch in BEAMS:
        shares.append(float(np.mean(index.search(goods[wanted], 1)[1][:, 0] == row[wanted])))
    return shares


def inner_links():
    """Return the share of the links of copies, on level 0, that go to copies."""
    draw = np.random.default_rng(0)
    vectors = unit(draw.standard_normal((GOODS, WIDTH)))
    vectors[:COPIES] = vectors[0]
    index = faiss.IndexHNSWFlat(WIDTH, 32, faiss.METRIC_INNER_PRODUCT)
    index.add(vectors)
    offsets, links = faiss.vector_to_array(index.hnsw.offsets), faiss.vector_to_array(index.hnsw.neighbors)
    lists = np.stack([links[offset : offset + 64] for offset in offsets[:COPIES]])
    return float(np.mean(lists[lists >= 0] < COPIES))


def show(name, seeds=range(10), **changes):
    """Print and return the shares of `found` for some draws."""
    shares = np.array([found(seed, **changes) for seed in seeds])
    per_beam = "; ".join(
        f"efSearch {beam}: " + ", ".join(f"{100 * share:.1f}" for share in column)
        for beam, column in zip(BEAMS, shares.T, strict=True)
    )
    print(f"{name}, {len(seeds)} draws, % of the others found by their own vector: {per_beam}", flush=True)
    return shares


inside = inner_links()
print(f"links of {COPIES:,} copies that go to copies: {100 * inside:.1f} %")
none = show("no copies", copies=0, seeds=range(3))
once = show("the copies added once", seeds=(0,), copies=1)
many = show(f"{COPIES:,} copies")
wide = show(f"{COPIES:,} copies, efConstruction 200", seeds=range(4), build_beam=200)
noisy = show(f"{COPIES:,} copies with noise of .001", noise=1e-3, seeds=range(5))
if min(none.min(), once.min(), noisy.min()) < 0.99 or inside < 0.9 or max(many.mean(), wide.mean()) > 0.95:
    sys.exit("the behaviour has changed")
PYTHON
