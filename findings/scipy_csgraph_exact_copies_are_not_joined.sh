#!/usr/bin/env bash
# scipy 1.17.1: groups of near-duplicates by connected_components join copies that differ in two bits and leave every
#             exact copy alone, because its distance of 0 is no edge: .78 of them are in another fold than their photo.
#
# Expected: in a graph of distances the shortest edge is the strongest; a radius_neighbors_graph(mode="distance") that
#           is made symmetric has the same edges as before, in both directions.
# Happens:  a 0 in a dense matrix is no edge, as the documentation of scipy.sparse.csgraph says; a stored 0 of a sparse
#           matrix is one. But maximum, minimum, + and eliminate_zeros drop stored zeros, so the usual
#           graph.maximum(graph.T) loses exact copies and nothing else, and so do csr_array(distances) and a
#           minimum_spanning_tree of a dense matrix that is cut at a limit, which is how single linkage is written down.
#           Distances of hashes and of whole numbers are often exactly 0. Below, near copies are joined in all cases, so
#           the groups look right, and the exact copies, which leak most, are all in groups of their own: .78 of them
#           are in another fold than their photo, of the near ones none. Without symmetry, as directed=False allows, the
#           graph of scikit-learn is right.
# Do:       connected_components of a matrix of booleans (distances <= limit), or mode="connectivity"; look for an
#           exact copy in the groups.
# Versions: scipy 1.17.1, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: groups that are passed as group ids with a catalogue; ours are made of edges without lengths
#           (pipeline_lib/catalogue/duplicates.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check scipy==1.17.1 scikit-learn==1.9.1 \
  numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial.distance import cdist
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import radius_neighbors_graph

names = ("scipy", "scikit-learn", "numpy")
print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
PRODUCTS, COPIES, BITS, LIMIT = 2_000, 700, 64, 4
draws = np.random.default_rng(0)
photos = draws.integers(0, 2, (PRODUCTS, BITS)).astype(bool)  # perceptual hashes
near = photos[COPIES : 2 * COPIES].copy()
for one in near:
    one[draws.choice(BITS, 2, replace=False)] ^= True
hashes = np.concatenate([photos, photos[:COPIES], near])
source = np.concatenate([np.arange(PRODUCTS), np.arange(2 * COPIES)])  # the photo that a row is, or is a copy of
copies = {"exact": np.arange(PRODUCTS, PRODUCTS + COPIES), "near": np.arange(PRODUCTS + COPIES, len(hashes))}
bits = cdist(hashes, hashes, "hamming") * BITS
graph = radius_neighbors_graph(hashes, LIMIT / BITS, mode="distance", metric="hamming")
connectivity = radius_neighbors_graph(hashes, LIMIT / BITS, mode="connectivity", metric="hamming")
tree = minimum_spanning_tree(bits)
tree.data[tree.data > LIMIT] = 0
tree.eliminate_zeros()
GRAPHS = {
    "booleans, distances <= limit": bits <= LIMIT,
    "radius_neighbors_graph": graph,
    "radius_neighbors_graph, mode='connectivity', symmetric": connectivity.maximum(connectivity.T),
    "radius_neighbors_graph, maximum(graph.T)": graph.maximum(graph.T),
    "radius_neighbors_graph, (graph + graph.T) / 2": (graph + graph.T) / 2,
    "dense distances, 0 above the limit": np.where(bits <= LIMIT, bits, 0),
    "csr_array of dense distances": csr_array(np.where(bits <= LIMIT, bits, 0)),
    "minimum_spanning_tree, cut at the limit": tree,
}
result = {}
for name, edges in GRAPHS.items():
    number, groups = connected_components(edges, directed=False)
    fold = np.zeros(len(hashes), int)
    for place, (_, rows) in enumerate(GroupKFold(5, shuffle=True, random_state=0).split(hashes, groups=groups)):
        fold[rows] = place
    joined = {kind: float((groups[rows] == groups[source[rows]]).mean()) for kind, rows in copies.items()}
    apart = {kind: round(float((fold[rows] != fold[source[rows]]).mean()), 2) for kind, rows in copies.items()}
    print(f"{name}: {number:,} groups, copies that are joined {joined}, in another fold than their photo {apart}")
    result[name] = joined["exact"], joined["near"], apart["exact"]
right, wrong = [*result.values()][:3], [*result.values()][3:]
if any(pair[:2] != (1, 1) for pair in right) or any(pair[:2] != (0, 1) or pair[2] < 0.5 for pair in wrong):
    sys.exit("the behaviour has changed")
PYTHON
