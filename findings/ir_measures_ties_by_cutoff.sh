#!/usr/bin/env bash
# ir-measures 0.4.3: RR and RR@10 sort products of equal scores in opposite ways, by their ids: of one run RR is .38 and
#             RR@10 .50, and which of two searches is better depends on the measure.
#
# Expected: RR@10 is RR without the ranks below 10, so at most RR; all measures of one call see one ranking.
# Happens:  RR comes from trec_eval, which sorts products of equal scores from the last id to the first, as it does for
#           nDCG, P, Success, R and AP; RR with a cutoff comes from the script of MS MARCO, before which they are sorted
#           from the first id to the last. The order in which a run lists them counts in neither. Where scores are often
#           equal (binary codes, counts, rounded scores, copies of a product) and the judged products have low ids, such
#           as the first 300 of a catalogue, RR@10 takes the best order and the other measures the worst. Below, 32 bits
#           of each vector are searched by Hamming distance: RR .38, RR@10 .50, and Success@1 .27, where RR@1, which is
#           the same measure, is .39. Vectors of 12 numbers, without ties, have .42, .41 and .30: by RR@10 and RR@1 the
#           codes are better, by RR, Success@1 and nDCG@10 the vectors. With the ids in reverse it is the other way
#           round. The pages of the measures name no order.
# Do:       pass scores without ties: -rank, in an order that is fixed in another way (by a hash of the id).
# Versions: ir-measures 0.4.3, pytrec-eval-terrier 0.5.11, numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: figures of others that are compared with ours, which are the mean over all orders of equal scores
#           (pipeline_lib/metrics/tied_ranks.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check ir-measures==0.4.3 \
  pytrec-eval-terrier==0.5.11 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import ir_measures
import numpy as np
from ir_measures import AP, RR, R, Success, nDCG

names = ("ir-measures", "pytrec-eval-terrier", "numpy")
print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
PRODUCTS, QUERIES, WIDTH, BITS, SHORT = 5_000, 300, 64, 32, 12
draws = np.random.default_rng(0)
products = draws.normal(size=(PRODUCTS, WIDTH))
queries = products[:QUERIES] + 0.8 * draws.normal(size=(QUERIES, WIDTH))
products /= np.linalg.norm(products, axis=1, keepdims=True)
few = products[:, :SHORT] / np.linalg.norm(products[:, :SHORT], axis=1, keepdims=True)
scores = {
    "short vectors": queries[:, :SHORT] @ few.T,
    "binary codes": -((queries[:, None, :BITS] > 0) != (products[None, :, :BITS] > 0)).sum(-1).astype(float),
}
measures = [RR, RR @ 10, RR @ 1000, RR @ 1, Success @ 1, nDCG @ 10, AP, R @ 10]


def evaluated(name, scores, answer, ids):
    """Print and return the measures of a run, and the reciprocal rank as the mean over all orders of equal scores."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :1_000]
    run = {
        f"q{row}": {ids[place]: float(scores[row, place]) for place in places} for row, places in enumerate(best)
    }
    judged = {f"q{row}": {ids[place]: 1} for row, place in enumerate(answer)}
    found = ir_measures.calc_aggregate(measures, judged, run)
    result = {str(measure): round(found[measure], 3) for measure in measures}
    own = scores[np.arange(len(answer)), answer][:, None]
    above, equal = (scores > own).sum(1), (scores == own).sum(1)
    mean = float(np.mean([np.mean(1 / np.arange(a + 1, a + e + 1)) for a, e in zip(above, equal)]))
    print(f"{name}: {result}, RR over all orders of ties {mean:.3f}", flush=True)
    return result


first, ids = np.arange(QUERIES), [f"p{number:05}" for number in range(PRODUCTS)]
codes = evaluated("binary codes", scores["binary codes"], first, ids)
turned = evaluated("binary codes, ids in reverse", scores["binary codes"], first, ids[::-1])
vectors = evaluated("short vectors, no ties", scores["short vectors"], first, ids)
if not (codes["RR@1000"] > codes["RR"] + 0.05 and codes["RR@1"] > codes["Success@1"] + 0.05):
    sys.exit("the behaviour has changed")
if vectors["RR@1"] != vectors["Success@1"] or turned["RR@10"] > turned["RR"]:
    sys.exit("the behaviour has changed")
PYTHON
