#!/usr/bin/env bash
# torchmetrics 1.9.0: top-1 and top-5 in one MetricCollection stay one figure for the whole training, if they are equal
#             on its very first batch: 17 of 20 trainings log a top-5 accuracy of .51 in place of .79.
#
# Expected: a collection computes what each metric computes alone. "Compute groups" are for metrics that use the same
#           counts, such as accuracy, precision and recall; top_k=1 and top_k=5 count different things.
# Happens:  whether two metrics share their counts is decided by the values of these after the first batch, not by the
#           settings. Among a thousand categories an untrained model has the right one neither first nor among the
#           first five for all 64 photos, so the counts are equal, and from then on only the first metric by name is
#           updated; reset() does not undo it. "top1" and "top5" both log top-1, "accuracy@5" and "top1" both log top-5.
#           The batch that decides is the first of the check before training, or of the first epoch. Below, with the
#           defaults of MulticlassAccuracy, 17 of 20 trainings log one figure for both in batches of 64, 19 in batches
#           of 32, and 5 in batches of 256; the others are right. A first batch that is all right does the same, and so
#           do two values of `threshold`. With average="micro" top-1 stands apart, but top-5 and top-10 do not.
#           forward() does not group. Nothing is printed.
# Do:       MetricCollection(..., compute_groups=False), or name the groups oneself.
# Versions: torchmetrics 1.9.0, torch 2.15.0 (6 GB of packages, most of the script's time), numpy 2.4.6, Python 3.11.7
# Date:     2026-12-01
# Matters for: logs of other programs that are compared with ours; ours count hits from the order of the scores
#           (pipeline_lib/metrics/top_k.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torchmetrics==1.9.0 torch==2.15.0 \
  numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import torch
from torch.nn.functional import cross_entropy
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

names = ("torchmetrics", "torch", "numpy")
print(", ".join(f"{name} {version(name)}" for name in names), f"Python {sys.version.split()[0]}")
CATEGORIES, WIDTH, SEEDS, EPOCHS = 1_000, 32, 20, 2
WAYS = {
    "top1, top5": ({"top1": 1, "top5": 5}, True),
    "accuracy@5, top1": ({"top1": 1, "accuracy@5": 5}, True),
    "top1, top5 without groups": ({"top1": 1, "top5": 5}, False),
}


def trained(seed, batch):
    """Train a classifier; return its last top-1 and top-5 accuracy, exact and as each way logs them."""
    torch.manual_seed(seed)
    kinds = torch.randn(CATEGORIES, WIDTH)
    labels = torch.cat([torch.arange(CATEGORIES).repeat(count)[torch.randperm(count * CATEGORIES)] for count in (2, 6)])
    features = kinds[labels] + 1.2 * torch.randn(len(labels), WIDTH)
    train, val = slice(2 * CATEGORIES, None), slice(2 * CATEGORIES)  # two photos of each category
    model = torch.nn.Linear(WIDTH, CATEGORIES)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    metrics = {}
    for way, (tops, grouped) in WAYS.items():
        made = {name: MulticlassAccuracy(CATEGORIES, top_k=top) for name, top in tops.items()}
        metrics[way] = MetricCollection(made, compute_groups=grouped)

    @torch.no_grad()
    def validated(steps=None):
        pairs = list(zip(features[val].split(batch), labels[val].split(batch), strict=True))[:steps]
        logged = {}
        for way, collection in metrics.items():
            for inputs, targets in pairs:
                collection.update(model(inputs), targets)
            logged[way] = [round(float(value), 3) for value in collection.compute().values()]
            collection.reset()
        return logged

    validated(steps=1)  # the sanity check, before any training
    for _ in range(EPOCHS):
        for inputs, targets in zip(features[train].split(64), labels[train].split(64), strict=True):
            optimizer.zero_grad()
            cross_entropy(model(inputs), targets).backward()
            optimizer.step()
        logged = validated()
    hits = model(features[val]).topk(5).indices == labels[val][:, None]
    exact = [round(float(hits[:, :top].any(1).float().mean()), 3) for top in (1, 5)]
    return exact, logged


def near(logged, exact):
    return all(abs(figure - right) < 0.002 for figure, right in zip(logged, exact, strict=True))


plain, alone = "top1, top5", "top1, top5 without groups"
same = {}
for batch in (32, 64, 256):
    runs = [trained(seed, batch) for seed in range(SEEDS)]
    print(f"batches of {batch}, first run: exact {runs[0][0]}; logged {runs[0][1]}")
    same[batch] = sum(near(logged[plain], [exact[0]] * 2) for exact, logged in runs)
    right = sum(near(logged[plain], exact) for exact, logged in runs)
    reverse = sum(near(logged["accuracy@5, top1"], [exact[1]] * 2) for exact, logged in runs)
    print(f"  top-1 is logged as top-5 in {same[batch]} of {SEEDS} runs, both are right in {right};", end=" ")
    print(f"by the other names top-5 is logged as top-1 in {reverse}")
    means = [sum(exact[place] for exact, _ in runs) / SEEDS for place in (0, 1)]
    print(f"  exact top-1 {means[0]:.3f} and top-5 {means[1]:.3f} in the mean of the runs")
    if not all(near(logged[alone], exact) for exact, logged in runs):
        sys.exit("without groups the figures are wrong")
if same[64] < SEEDS / 2 or same[256] > SEEDS - 5:
    sys.exit("the behaviour has changed")
PYTHON
