#!/usr/bin/env bash
# qdrant-client 1.20.0: RRF with k=60 and weights of 9 to 1 for photos over titles has a Recall@1 of .410, without
#             weights .595, photos alone .790, and the sum of weight / (k + rank) .810.
#
# Expected: a weighted RRF adds weight / (k + rank), as Chroma's does; the docstring says "higher weight gives more
#           influence on the final ranking". So [9, 1], [90, 10] and [0.9, 0.1] are the same, and a title counts a
#           ninth of a photo.
# Happens:  the weight divides the rank: 1 / (k - 1 + rank / weight), which the page about hybrid queries shows as a
#           formula. With [9, 1] and k=60 the first photo has 1 / 59.1, the tenth 1 / 60.1 and the first title 1 / 60,
#           so what is near the top of both lists comes before the first photo. A higher weight for the better list
#           makes it worse, the more so the higher it is: [90, 10] has .395, [0.9, 0.1] .635. With the default, k=2, 9
#           to 1 is good (.820), and 90 to 10 is not (.545). Nothing in the answer shows it. It is the same in the
#           local mode of the client and in the engine of the server (qdrant-edge-py); of equal scores the engine
#           takes one by chance, so its figures for [1, 1] vary.
# Do:       fuse the lists outside; or tune k and the size of the weights, not only their ratio, on queries of one's
#           own.
# Versions: qdrant-client 1.20.0, qdrant-edge-py 0.9.0, numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: hybrid search over our vectors in Qdrant (pipeline_lib/retrieval/search.py); our own members are fused
#           by their embeddings (pipeline_lib/ensembling/fuse.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check qdrant-client==1.20.0 \
  qdrant-edge-py==0.9.0 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
import qdrant_edge as edge
from qdrant_client import QdrantClient, models

names = ("qdrant-client", "qdrant-edge-py", "numpy")
print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
PRODUCTS, QUERIES, WIDTH, DEPTH, K = 1_000, 200, 48, 100, 10
NOISE = {"photo": 1.7, "title": 3.5}  # of a query, so that the photos find more
WEIGHTS = ([1.0, 1.0], [9.0, 1.0], [90.0, 10.0], [0.9, 0.1])
draws = np.random.default_rng(0)
answer = draws.choice(PRODUCTS, QUERIES, replace=False)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def asked(kind):
    return unit(vectors[kind][answer] + NOISE[kind] * unit(draws.normal(size=(QUERIES, WIDTH))))


vectors = {kind: unit(draws.normal(size=(PRODUCTS, WIDTH))) for kind in NOISE}
queries = {kind: asked(kind) for kind in NOISE}
points = [{kind: vectors[kind][row].tolist() for kind in NOISE} for row in range(PRODUCTS)]
client = QdrantClient(":memory:")
cosine = models.VectorParams(size=WIDTH, distance=models.Distance.COSINE)
client.create_collection("products", vectors_config=dict.fromkeys(NOISE, cosine))
client.upsert("products", [models.PointStruct(id=row, vector=point) for row, point in enumerate(points)])
same = edge.EdgeVectorParams(size=WIDTH, distance=edge.Distance.Cosine)
shard = edge.EdgeShard.create(f"{sys.argv[1]}/shard", edge.EdgeConfig(vectors=dict.fromkeys(NOISE, same)))
shard.update(edge.UpdateOperation.upsert_points([edge.Point(row, point, {}) for row, point in enumerate(points)]))


def by_client(row, k, weights):
    stages = [models.Prefetch(query=queries[kind][row].tolist(), using=kind, limit=DEPTH) for kind in NOISE]
    query = models.RrfQuery(rrf=models.Rrf(k=k, weights=weights))
    return [point.id for point in client.query_points("products", prefetch=stages, query=query, limit=K).points]


def by_engine(row, k, weights):
    nearest = [edge.Query.Nearest(queries[kind][row].tolist(), using=kind) for kind in NOISE]
    stages = [edge.Prefetch(limit=DEPTH, query=one) for one in nearest]
    query = edge.QueryRequest(limit=K, prefetches=stages, query=edge.Fusion.Rrf(k, weights))
    return [point.id for point in shard.query(query)]


lists = {kind: np.argsort(-queries[kind] @ vectors[kind].T, axis=1)[:, :DEPTH].tolist() for kind in NOISE}


def usual(row, k, weights):
    """Return the products with the highest sum of weight / (k + place); with equal weights it is Qdrant's."""
    scores = {}
    for kind, weight in zip(NOISE, weights, strict=True):
        for place, product in enumerate(lists[kind][row]):
            scores[product] = scores.get(product, 0) + weight / (k + place)
    return sorted(scores, key=lambda product: -scores[product])[:K]


def recalls(found):
    right = [[hit == target for hit in hits] for hits, target in zip(found, answer, strict=True)]
    return tuple(round(float(np.mean([any(hits[:top]) for hits in right])), 3) for top in (1, 10))


for kind in NOISE:
    print(f"{kind} alone: Recall@1 and @10 {recalls(lists[kind])}")
result = {}
for k in (60, 2):
    for weights in WEIGHTS:
        ways = by_client, by_engine, usual
        found = [recalls([ask(row, k, weights) for row in range(QUERIES)]) for ask in ways]
        result[k, weights[0]] = [pair[0] for pair in found]
        print(f"k={k}, weights {weights}: client {found[0]}, engine {found[1]}, weight / (k + rank) {found[2]}")
for place in (0, 1):
    plain, nine, ninety, below = (result[60, first][place] for first in (1, 9, 90, 0.9))
    if not (ninety <= nine < plain - 0.1 < below) or result[2, 90][place] > result[2, 9][place] - 0.1:
        sys.exit("the behaviour has changed")
PYTHON
