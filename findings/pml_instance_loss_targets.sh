#!/usr/bin/env bash
# pytorch-metric-learning 2.9.0: InstanceLoss, made for image-text embeddings, trains photos and titles towards photos
#             of other products: Recall@1 after training is .001, with NTXentLoss .988.
#
# Expected: embeddings with the same label are drawn together, whatever the labels are called, as in the other losses:
#           loss(cat([photos, titles]), cat([ids, ids])).
# Happens:  each label is replaced by its rank among the labels of the batch, and the rank is then used as the place of
#           a row in the batch. So the target of a product is the photo that stands at the place of its rank, which in
#           shuffled batches is another product's. Perfect vectors of 32 products have a loss of 64.7, equal ones of
#           4.16. It falls to 3.7 in training, nothing is raised, and new photos find their titles as by chance. Only
#           where labels are 0, 1, 2, ... in the order of the rows a title has its own photo as target; a photo always
#           has itself then. So a test with such labels learns: Recall@1 .938. No issue on it was found.
# Do:       NTXentLoss with the same arguments, which does not mind how products are numbered. Compare the losses of
#           perfect and of equal vectors.
# Versions: pytorch-metric-learning 2.9.0, torch 2.13.0 (up to 6 GB of packages), numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: towers that are trained outside for a start or as a teacher; we have no such loss (pipeline_lib/losses).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pytorch-metric-learning==2.9.0 \
  torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import torch
from pytorch_metric_learning.losses import InstanceLoss, NTXentLoss
from torch import nn
from torch.nn.functional import normalize

names = ("pytorch-metric-learning", "torch", "numpy")
print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
torch.set_num_threads(1)
PRODUCTS, TEST, WIDTH, BATCH, EPOCHS = 2_560, 1_000, 64, 32, 10
draws = torch.Generator().manual_seed(0)
products = normalize(torch.randn(PRODUCTS + TEST, WIDTH, generator=draws), dim=1)
photos, titles = (
    torch.tanh(products @ torch.randn(WIDTH, WIDTH, generator=draws))
    + 0.2 * torch.randn(len(products), WIDTH, generator=draws)
    for _ in range(2)
)
ids = torch.randperm(len(products), generator=draws)  # the catalogue's own order of products


def recall(loss, renumbered):
    """Return the Recall@1 of new photos among their titles after training, and the last loss."""
    torch.manual_seed(0)
    towers = [nn.Sequential(nn.Linear(WIDTH, 256), nn.ReLU(), nn.Linear(256, WIDTH)) for _ in range(2)]
    optimizer = torch.optim.Adam([part for tower in towers for part in tower.parameters()], 1e-3)
    for _ in range(EPOCHS):
        for rows in torch.randperm(PRODUCTS).split(BATCH):
            labels = torch.arange(len(rows)) if renumbered else ids[rows]
            optimizer.zero_grad()
            value = loss(torch.cat([towers[0](photos[rows]), towers[1](titles[rows])]), torch.cat([labels, labels]))
            value.backward()
            optimizer.step()
    with torch.no_grad():
        images, texts = towers[0](photos[PRODUCTS:]), towers[1](titles[PRODUCTS:])
    nearest = (normalize(images) @ normalize(texts).T).argmax(1)
    return round((nearest == torch.arange(TEST)).float().mean().item(), 3), round(value.item(), 3)


labels = ids[:BATCH].repeat(2)
perfect, equal = torch.eye(BATCH).repeat(2, 1), torch.ones(2 * BATCH, BATCH)
values = {}
for loss in (InstanceLoss(), NTXentLoss()):
    values[type(loss).__name__] = loss(perfect, labels).item(), loss(equal, labels).item()
    print(f"{type(loss).__name__}: loss of perfect vectors {loss(perfect, labels):.2f},", end=" ")
    print(f"of equal vectors {loss(equal, labels):.2f}")
WAYS = {
    "InstanceLoss, ids": (InstanceLoss(), False),
    "InstanceLoss, 0, 1, 2, ...": (InstanceLoss(), True),
    "NTXentLoss, ids": (NTXentLoss(), False),
    "NTXentLoss, 0, 1, 2, ...": (NTXentLoss(), True),
}
result = {}
for name, way in WAYS.items():
    result[name] = recall(*way)
    print(f"{name}: Recall@1 {result[name][0]:.3f}, last loss {result[name][1]:.3f}")
if values["InstanceLoss"][0] < 55 or values["InstanceLoss"][1] > 5 or values["NTXentLoss"][0] > values["NTXentLoss"][1]:
    sys.exit("the behaviour has changed")
if result["InstanceLoss, ids"][0] > 0.02 or min(figures[0] for figures in [*result.values()][1:]) < 0.9:
    sys.exit("the behaviour has changed")
PYTHON
