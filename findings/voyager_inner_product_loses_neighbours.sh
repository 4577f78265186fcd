#!/usr/bin/env bash
# voyager 2.2.3: products with vectors of lengths .4 to 2.3 have a Recall@10 of .350 in Space.InnerProduct, of .997 if
#             they are added from the longest to the shortest, and of .998 in FAISS's HNSW.
#
# Expected: of two HNSW indexes with the same links and beams the one that makes inner products distances, by a
#           further dimension that makes all vectors equally long ("order-preserving transform"), finds as much or
#           more.
# Happens:  the further dimension costs the neighbours: by hand, with the longest of all vectors known and
#           Space.Euclidean, it is .417, too. FAISS's METRIC_INNER_PRODUCT, which has none, finds .998. Ten times the
#           search beam brings .818; with the same beam all depends on the order of adding. The transform came in to
#           find more (voyager's issue 19 and pull request 25). Vectors of length 1, as in a trial, lose nothing
#           (.999), those of .85 to 1.18 little (.983), of .7 to 1.4 a fifth (.814).
# Do:       add the longest vectors first, or use an index of inner products as they are; measure against an exact
#           search.
# Versions: voyager 2.2.3, faiss-cpu 1.15.1, numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: vectors whose lengths say something, such as how well a product sells; ours have length 1
#           (pipeline_lib/retrieval/faiss_index.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check voyager==2.2.3 faiss-cpu==1.15.1 \
  numpy==2.4.6
OMP_NUM_THREADS=1 "$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import faiss
import numpy as np
from voyager import Index, Space

names = ("voyager", "faiss-cpu", "numpy")
print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
PRODUCTS, QUERIES, WIDTH, TOPICS, K = 5_000, 200, 64, 32, 10
LINKS, BUILD, SEARCH = 12, 200, 100  # of both indexes
draws = np.random.default_rng(0)
directions = draws.normal(size=(PRODUCTS, TOPICS)) @ draws.normal(size=(TOPICS, WIDTH))
directions /= np.linalg.norm(directions, axis=1, keepdims=True)
lengths = draws.normal(size=PRODUCTS)
queries = (directions[:QUERIES] + 0.5 * draws.normal(size=(QUERIES, WIDTH)) / WIDTH**0.5).astype("f4")


def voyager(vectors, order, search=SEARCH):
    index = Index(Space.InnerProduct, num_dimensions=WIDTH, M=LINKS, ef_construction=BUILD)
    index.add_items(vectors[order], ids=order, num_threads=1)
    return index.query(queries, k=K, num_threads=1, query_ef=search)[0]


def by_hand(vectors, order, search=SEARCH):
    """Search Space.Euclidean with the further dimension of the longest of all vectors."""
    squares = (vectors.astype(float) ** 2).sum(1)
    longer = np.column_stack([vectors, np.sqrt(squares.max() - squares)]).astype("f4")
    index = Index(Space.Euclidean, num_dimensions=WIDTH + 1, M=LINKS, ef_construction=BUILD)
    index.add_items(longer[order], ids=order, num_threads=1)
    asked = np.column_stack([queries, np.zeros(QUERIES)]).astype("f4")
    return index.query(asked, k=K, num_threads=1, query_ef=search)[0]


def faiss_hnsw(vectors, order, search=SEARCH):
    index = faiss.IndexHNSWFlat(WIDTH, LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = BUILD, search
    index.add(vectors[order])
    return order[index.search(queries, K)[1]]


result = {}
for spread in (0, 0.1, 0.2, 0.5):
    vectors = (directions * np.exp(spread * lengths)[:, None]).astype("f4")
    norms = np.linalg.norm(vectors, axis=1)
    exact = np.argsort(-(queries @ vectors.T), axis=1)[:, :K]

    def recall(found):
        pairs = zip(found.tolist(), exact.tolist(), strict=True)
        return round(float(np.mean([len({*hits} & {*right}) / K for hits, right in pairs])), 3)

    shown = draws.permutation(PRODUCTS)
    shares = {
        "voyager": recall(voyager(vectors, shown)),
        "voyager, search 1,000": recall(voyager(vectors, shown, 1_000)),
        "voyager, longest first": recall(voyager(vectors, np.argsort(-norms))),
        "by hand, Euclidean": recall(by_hand(vectors, shown)),
        "faiss": recall(faiss_hnsw(vectors, shown)),
    }
    low, high = np.quantile(norms, (0.05, 0.95))
    print(f"lengths {low:.2f} to {high:.2f}: Recall@10 {shares}", flush=True)
    result[spread] = shares
if result[0]["voyager"] < 0.98 or result[0.2]["voyager"] > 0.9 or result[0.5]["voyager"] > 0.6:
    sys.exit("the behaviour has changed")
if min(one[way] for one in result.values() for way in ("voyager, longest first", "faiss")) < 0.95:
    sys.exit("the behaviour has changed")
PYTHON
