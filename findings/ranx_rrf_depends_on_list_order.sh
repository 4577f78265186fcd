#!/usr/bin/env bash
# ranx 0.3.21: reciprocal rank fusion of two lists has an R@1 of .224 or .135, by which list is named first.
#
# Expected: RRF adds 1 / (60 + rank) over the lists, so it is the same for [vectors, words] and [words, vectors], and
#           sums that are equal to the last bit are too rare to matter.
# Happens:  ranks are whole numbers, so sums are equal often: where neither list has the other's best product, both
#           have 1 / 61, and places 1 and 2 against 2 and 1 are equal, too. With lists of 5, 48 % of the fused lists
#           have two products of the highest score, with lists of 10 17 %, with lists of 100 1 %. ranx then puts the
#           product of the first-named list in front. Below, vectors find more than words: named first, they lead to
#           an R@1 of .224, named second to .135 (lists of 10: .185 and .158). pytrec_eval, which ir-measures calls for
#           P@1, gets the same scores and sorts equal ones by id: .181 in both. So a script that fuses [bm25, model] and
#           one that fuses [model, bm25] are compared by a choice that nobody made. ir-measures itself gives RR@1 = .178
#           beside P@1 = .181, which are one figure: its two programs sort ids in opposite directions.
# Do:       fuse lists of 100 and cut afterwards; break what is left by the similarity, in every program alike.
# Versions: ranx 0.3.21, ir-measures 0.4.3, pytrec_eval-terrier 0.5.11, numpy 2.4.6, numba 0.68.1, Python 3.11.7
# Date:     2026-11-30
# Matters for: our prediction files fused outside; here equal scores go by id (pipeline_lib/metrics/top_k.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  ranx==0.3.21 ir-measures==0.4.3 pytrec_eval-terrier==0.5.11
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys
from importlib.metadata import version

import ir_measures
import numpy as np
from ir_measures import RR, P
from ranx import Qrels, Run, evaluate, fuse

names = ("ranx", "ir-measures", "pytrec_eval-terrier", "numpy", "numba")
print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
PRODUCTS, QUERIES = 2_000, 1_000


def ranked(depth):
    """Return the right product of each query, and the lists of a good search and of a weak one, as ids and scores."""
    draw = np.random.default_rng(1)
    right, vectors, words = {}, {}, {}
    for query in range(QUERIES):
        fit = draw.standard_normal(PRODUCTS)
        wanted = int(draw.integers(PRODUCTS))
        fit[wanted] += 3
        right[f"q{query}"] = {f"p{wanted:04d}": 1}
        for found, noise in ((vectors, 0.4), (words, 1.2)):
            score = fit + noise * draw.standard_normal(PRODUCTS)
            top = np.argsort(-score, kind="stable")[:depth]
            found[f"q{query}"] = {f"p{product:04d}": float(score[product]) for product in top}
    return right, vectors, words


def first_right(qrels, run):
    """Return R@1 by ranx."""
    return float(evaluate(Qrels(qrels), run, "hit_rate@1", make_comparable=True))


seen = {}
for depth in (5, 10, 100):
    qrels, vectors, words = ranked(depth)
    alone = [first_right(qrels, Run(run)) for run in (vectors, words)]
    print(f"lists of {depth}: R@1 of vectors alone {alone[0]:.3f}, of words alone {alone[1]:.3f}")
    for name, runs in (("[vectors, words]", (vectors, words)), ("[words, vectors]", (words, vectors))):
        fused = fuse(runs=[Run(run) for run in runs], method="rrf")
        scores = {query: dict(own) for query, own in fused.to_dict().items()}
        best = [sorted(own.values(), reverse=True)[:2] for own in scores.values()]
        ties = float(np.mean([one == two for one, two in best]))
        other = ir_measures.calc_aggregate([P @ 1, RR @ 1], qrels, scores)
        seen[depth, name] = first_right(qrels, fused), float(other[P @ 1]), float(other[RR @ 1]), ties
        own, precision, reciprocal, _ = seen[depth, name]
        print(
            f"  rrf of {name}: R@1 {own:.3f}; by ir-measures P@1 {precision:.3f}, RR@1 {reciprocal:.3f}; "
            f"two products of the highest score for {100 * ties:.0f} % of the queries", flush=True
        )
one, two = seen[5, "[vectors, words]"], seen[5, "[words, vectors]"]
ten = seen[10, "[vectors, words]"][0] - seen[10, "[words, vectors]"][0]
if one[0] - two[0] < 0.05 or ten < 0.01 or one[1:] != two[1:] or one[1] == one[2] or one[3] < 0.4:
    sys.exit("the behaviour has changed")
PYTHON
