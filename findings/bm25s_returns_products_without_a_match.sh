#!/usr/bin/env bash
# bm25s 0.3.16: a query that matches no product gets k products all the same, for each such query the same ones, and
#             RRF puts them first: Recall@1 of BM25 and vectors is .802 in place of .992.
#
# Expected: hits are products with a word of the query, as in Lucene and Elasticsearch, whose BM25 this is; a query
#           without a match has no hits.
# Happens:  retrieve(k=10) returns ten products for each query. Products of score 0 fill the list, in an order of their
#           own: product 0 is first for all queries that match nothing. Whoever fuses by ranks does not look at scores.
#           Below, a fifth of the queries is in another language, which the vectors know. They rank .970 of all products
#           first; RRF of BM25 and vectors .802 (1 / 61 for product 0 and for the right one, and the list that is named
#           first wins), RRF of vectors and BM25 .982, and either order .992 without the hits of score 0. With half of
#           the queries in another language: .504, .970, .988. Recall@10 does not show it. All queries have hits, so a
#           count of queries without results is 0, and a reranker gets the same ten products for them.
# Do:       drop hits with scores <= 0 before fusing, counting or showing them.
# Versions: bm25s 0.3.16, numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: hybrid search over hits of this project (pipeline_lib/retrieval/search.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check bm25s==0.3.16 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import random
import sys
from importlib.metadata import version

import bm25s
import numpy as np

print(f"bm25s {version('bm25s')}, numpy {version('numpy')}, Python {sys.version.split()[0]}")
random.seed(0)
draws = np.random.default_rng(0)
PRODUCTS, QUERIES, WIDTH = 2_000, 500, 64
COLOURS = dict(red="rot", blue="blau", green="grün", black="schwarz", white="weiß", brown="braun", yellow="gelb")
KINDS = dict(sneaker="turnschuh", boot="stiefel", lamp="leuchte", kettle="wasserkocher", jacket="jacke", dress="kleid")
products = [(random.choice([*COLOURS]), random.choice([*KINDS]), f"ref{number}") for number in range(PRODUCTS)]
titles = [" ".join(words) for words in products]
vectors = draws.normal(size=(PRODUCTS, WIDTH))
answer = draws.choice(PRODUCTS, QUERIES, replace=False)
# Customers write the words of the title, or German ones. The vectors know both languages.
english = [titles[row] for row in answer]
german = [f"{COLOURS[products[row][0]]} {KINDS[products[row][1]]}" for row in answer]
queries = vectors[answer] + 1.3 * draws.normal(size=(QUERIES, WIDTH))
similar = queries @ (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).T
dense = np.argsort(-similar, axis=1)[:, :10]
search = bm25s.BM25()
search.index(bm25s.tokenize(titles, show_progress=False), show_progress=False)


def fused(*lists):
    """Return the products of several lists in the order of reciprocal rank fusion."""
    scores = {}
    for hits in lists:
        for rank, hit in enumerate(hits, 1):
            scores[int(hit)] = scores.get(int(hit), 0) + 1 / (60 + rank)
    return sorted(scores, key=scores.get, reverse=True)


def recalls(name, found):
    at = [round(float(np.mean([row in hits[:k] for row, hits in zip(answer, found)])), 3) for k in (1, 10)]
    print(f"  {name}: Recall@1 {at[0]:.3f}, Recall@10 {at[1]:.3f}")
    return at[0]


result = {}
for share in (0, 0.2, 0.5):
    other = np.arange(QUERIES) < share * QUERIES
    texts = [two if foreign else one for one, two, foreign in zip(english, german, other)]
    hits, scores = search.retrieve(bm25s.tokenize(texts, show_progress=False), k=10, show_progress=False)
    without = (scores == 0).all(1)
    firsts = len(set(hits[without, 0].tolist()))
    print(f"{100 * without.mean():.0f} % of the queries match nothing and get {hits.shape[1]} products,", end=" ")
    print(f"{firsts} different ones at rank 1; {100 * (scores == 0).mean():.0f} % of all hits have a score of 0")
    matched = [row[score > 0] for row, score in zip(hits, scores)]
    lists = {
        "vectors alone": dense,
        "BM25 alone": hits,
        "RRF of BM25 and vectors": [fused(*pair) for pair in zip(hits, dense)],
        "RRF of vectors and BM25": [fused(*pair) for pair in zip(dense, hits)],
        "RRF of BM25 without scores of 0 and vectors": [fused(*pair) for pair in zip(matched, dense)],
        "RRF of vectors and BM25 without scores of 0": [fused(*pair) for pair in zip(dense, matched)],
    }
    result[share] = {name: recalls(name, found) for name, found in lists.items()}
    if share and (without.mean() != share or firsts != 1):
        sys.exit("the behaviour has changed")
names = ("vectors alone", "RRF of BM25 and vectors", "RRF of BM25 without scores of 0 and vectors")
alone, both, right = (result[0.2][name] for name in names)
if not (both < alone - 0.1 and right > alone):
    sys.exit("the behaviour has changed")
PYTHON
