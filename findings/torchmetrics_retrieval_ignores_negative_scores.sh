#!/usr/bin/env bash
# torchmetrics 1.9.0: a constant that is added to all scores moves RetrievalMAP from .77 to .92 or .51, and Recall@10
#             from .83 to .18; the order of the products stays the same.
#
# Expected: metrics of rankings depend on the order of the scores alone, so cosines, distances below zero and logits
#           will do. The documentation asks for "float predictions from a model output".
# Happens:  a right product with a score of 0 or below is taken for a wrong one in RetrievalMAP, MRR, Recall and
#           Precision. Recall falls; MAP mostly rises, because it is the mean over the right products that are left, and
#           those that are left are the ones in front. Below, five products are right for each query. With 20 x cosine -
#           8, such as logits of SigLIP or of a reranker, MAP is .922 and Recall@10 .554 in place of .770 and .831. A
#           worse model, whose right MAP is .656, has .845 with its logits and passes the better one's cosines. With
#           negative distances MAP, MRR and Recall are 0. RetrievalHitRate and NDCG, which many have beside them, are
#           right. Nothing is printed, and cosines, most of them positive, hardly show it.
# Do:       give scores - scores.min() + 1: the order is the same and all are above 0.
# Versions: torchmetrics 1.9.0, torch 2.15.0 (6 GB of packages, nearly all of the script's time), scikit-learn 1.9.1,
#           numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: figures of other programs that are compared with ours; ours go by the order alone (pipeline_lib/metrics).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torchmetrics==1.9.0 torch==2.15.0 \
  scikit-learn==1.9.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy
import torch
from sklearn.metrics import average_precision_score
from torch.nn.functional import normalize
from torchmetrics.retrieval import RetrievalHitRate, RetrievalMAP, RetrievalMRR, RetrievalNormalizedDCG, RetrievalRecall

names = ("torchmetrics", "torch", "scikit-learn", "numpy")
print(", ".join(f"{name} {version(name)}" for name in names), f"Python {sys.version.split()[0]}")
QUERIES, PRODUCTS, WIDTH = 200, 1_000, 64
METRICS = {
    "MAP": RetrievalMAP,
    "MRR": RetrievalMRR,
    "Recall@10": lambda: RetrievalRecall(top_k=10),
    "HitRate@1": lambda: RetrievalHitRate(top_k=1),
    "NDCG": RetrievalNormalizedDCG,
}
relevant = torch.arange(QUERIES)[:, None] == torch.arange(PRODUCTS) % QUERIES  # five products for each query
numbers = torch.arange(QUERIES)[:, None].expand(QUERIES, PRODUCTS)


def cosines(noise):
    """Return the similarities of queries and products by a model that is worse with more noise."""
    torch.manual_seed(0)
    kinds = torch.randn(QUERIES, WIDTH)
    products = kinds.repeat(PRODUCTS // QUERIES, 1) + noise * torch.randn(PRODUCTS, WIDTH)
    return normalize(kinds + noise * torch.randn(QUERIES, WIDTH)) @ normalize(products).T


def measured(name, scores):
    metrics = {key: made() for key, made in METRICS.items()}
    for metric in metrics.values():
        metric.update(scores, relevant, indexes=numbers)
    figures = {key: round(float(metric.compute()), 3) for key, metric in metrics.items()}
    exact = numpy.mean([average_precision_score(right, row) for right, row in zip(relevant, scores)])
    share = 100 * (scores[relevant] <= 0).float().mean()
    print(f"{name}: {figures}, MAP of scikit-learn {exact:.3f}; {share:.0f} % of the right products at 0 or below")
    return figures


better, worse = cosines(1.2), cosines(1.3)
found = {bias: measured(f"20 x cosine {bias:+}", 20 * better + bias) for bias in (10, 0, -4, -6, -8, -10)}
distances = measured("negative distance", -(2 - 2 * better).sqrt())
other = measured("worse model, 20 x cosine - 7", 20 * worse - 7)
right = found[10]["MAP"]
if not (found[0]["MAP"] == right and found[-8]["MAP"] > right + 0.1 and other["MAP"] > right and distances["MAP"] == 0):
    sys.exit("the behaviour has changed")
if found[-8]["Recall@10"] > found[10]["Recall@10"] - 0.2 or found[-8]["NDCG"] != found[10]["NDCG"]:
    sys.exit("the behaviour has changed")
PYTHON
