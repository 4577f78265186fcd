#!/usr/bin/env bash
# lightgbm 4.7.0: a list of candidates without a right product has an NDCG and a MAP of 1: of 5 candidates NDCG@10 is
#             .972, of 200 .724; the exact figures are .420 and .623.
#
# Expected: a query whose right product is not among the candidates has an NDCG of 0, as in trec_eval and scikit-learn,
#           or is left out.
# Happens:  it counts as 1, the best there is, and so in MAP; the documentation of the metrics does not say so. (XGBoost
#           does the same, says so, and has "ndcg@10-", which counts 0.) The figure of a reranker rises with each query
#           that the search before it loses. Below, the right product is missing for 55 % of the queries among 5
#           candidates and for 10 % among 200. Who chooses the number of candidates, or one of two searches, by the
#           logged NDCG takes the worst one. A model of one list trains and stops as it should, because the queries
#           without an answer add the same to each round.
# Do:       compute the metric from predict(), with the queries whose answer is missing as 0.
# Versions: lightgbm 4.7.0, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: rerankers over hits of this project; ours rank the whole gallery, so no query lacks its product
#           (pipeline_lib/metrics/gallery_ranks.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check lightgbm==4.7.0 scikit-learn==1.9.1 \
  numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import lightgbm
import numpy as np
from sklearn.metrics import ndcg_score

names = ("lightgbm", "scikit-learn", "numpy")
print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
QUERIES, PRODUCTS, WIDTH, LONGEST = 1_000, 5_000, 32, 200
draws = np.random.default_rng(0)
products = draws.normal(size=(PRODUCTS, WIDTH))
answer = draws.choice(PRODUCTS, QUERIES, replace=False)
views = [products + 1.0 * draws.normal(size=products.shape) for _ in range(3)]  # photo, title, description
query = products[answer] + 1.0 * draws.normal(size=(QUERIES, WIDTH))


def cosines(view):
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (query, view)]
    return unit[0] @ unit[1].T


scores = np.stack([cosines(view) for view in views], -1)  # (queries, products, views)
candidates = np.argsort(-scores[:, :, 0], axis=1)[:, :LONGEST]  # the search goes by the photo alone


def reranked(count):
    """Train on half of the queries to rerank the first hits; return lightgbm's and the exact NDCG@10 of the others."""
    found = candidates[:, :count]
    features = np.take_along_axis(scores, found[:, :, None], 1)
    right = (found == answer[:, None]).astype(int)
    half = QUERIES // 2
    sides = [(features[part].reshape(-1, 3), right[part].ravel()) for part in (slice(half), slice(half, None))]
    groups, logged = np.full(half, count), {}
    settings = {"n_estimators": 60, "learning_rate": 0.05, "num_leaves": 7, "random_state": 0, "n_jobs": 1}
    ranker = lightgbm.LGBMRanker(**settings, verbose=-1)
    ranker.fit(
        *sides[0],
        group=groups,
        eval_X=(sides[1][0],),
        eval_y=(sides[1][1],),
        eval_group=[groups],
        eval_metric=["ndcg", "map"],
        eval_at=[10],
        callbacks=[lightgbm.record_evaluation(logged)],
    )
    predicted, right = ranker.predict(sides[1][0]).reshape(half, count), right[half:]
    exact = ndcg_score(right, predicted, k=10)  # 0 for a query without a right product
    has = right.any(1)
    last = {name: float(round(values[-1], 3)) for name, values in logged["valid_0"].items()}
    among = ndcg_score(right[has], predicted[has], k=10)
    print(f"{count} candidates, the right one is missing for {100 * (1 - has.mean()):.0f} % of the queries:", end=" ")
    print(f"lightgbm {last}, exact NDCG@10 {exact:.3f}, where it is not missing {among:.3f}")
    return last["ndcg@10"], exact, 1 - has.mean()


found = np.array([reranked(count) for count in (5, 10, 20, 50, 100, 200)])
logged, exact, without = found.T
if not (np.abs(logged - exact - without) < 0.002).all() or logged.argmax() != 0 or exact.argmax() == 0:
    sys.exit("the behaviour has changed")
PYTHON
