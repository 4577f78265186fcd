#!/usr/bin/env bash
# torchmetrics 1.9.0: AUROC and average precision of cosine similarities depend on the batch size.
#
# Expected: scores outside [0, 1] are taken for logits and go through a sigmoid, as the documentation says. A sigmoid
#           keeps the order, and both metrics depend on the order alone, so it does not matter.
# Happens:  each call of `update` decides for its own batch. A batch of cosines without a negative one stays as it is,
#           a batch with one becomes .5 and more, and the metric ranks both kinds together. Cosines of image-text
#           pairs are mostly positive, so small batches differ and large ones do not: below, AUROC is .74 in batches
#           of 128 and .60 in batches of 8, and average precision .58 and .41. The same scores plus .5, none of them
#           negative, are .74 in every batch size: two models with the same order compare as a good one and a bad one.
#           Nothing is printed.
# Do:       give scores in [0, 1], such as (1 + cosine) / 2, or all scores in one `update`.
# Versions: torchmetrics 1.9.0, torch 2.15.0 (6 GB of packages, nearly all of the script's time), scikit-learn 1.9.1,
#           Python 3.11.7
# Date:     2026-11-30
# Matters for: figures of other programs that are compared with ours; ours come from ranks of all scores
#           (pipeline_lib/metrics).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torchmetrics==1.9.0 torch==2.15.0 scikit-learn==1.9.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

names = ("torchmetrics", "torch", "scikit-learn")
print(", ".join(f"{name} {version(name)}" for name in names), f"Python {sys.version.split()[0]}")
torch.manual_seed(0)
matches = (torch.rand(4_096) < 0.3).long()
cosines = 0.12 + 0.08 * torch.randn(4_096) + 0.08 * matches
print(f"{100 * (cosines < 0).float().mean():.1f} % of the cosines are negative")


def measured(scores, size):
    metrics = BinaryAUROC(), BinaryAveragePrecision()
    for start in range(0, len(scores), size):
        for metric in metrics:
            metric.update(scores[start : start + size], matches[start : start + size])
    return tuple(round(float(metric.compute()), 2) for metric in metrics)


right = tuple(round(float(score(matches, cosines)), 2) for score in (roc_auc_score, average_precision_score))
print(f"scikit-learn: AUROC {right[0]}, average precision {right[1]}")
found = {}
for size in (4_096, 128, 32, 8, 1):
    found[size] = measured(cosines, size)
    shifted = measured(cosines + 0.5, size)
    print(f"batches of {size}: AUROC {found[size][0]}, average precision {found[size][1]}; of cosines + .5: {shifted}")
    if shifted != right:
        sys.exit("the behaviour has changed")
if found[4_096] != right or found[8][0] > right[0] - 0.1 or found[8][1] > right[1] - 0.1:
    sys.exit("the behaviour has changed")
PYTHON
