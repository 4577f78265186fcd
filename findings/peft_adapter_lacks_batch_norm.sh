#!/usr/bin/env bash
# peft 0.21.2: LoRA for a network with BatchNorm finds the product of 100 % of the photos until it is saved, and of 2 %
#             after it is loaded.
#
# Expected: the base model is frozen and the adapter has all that was trained: base + adapter gives the vectors that
#           validation saw, and without the adapter the base model is as it was.
# Happens:  get_peft_model freezes parameters. The running means and variances of BatchNorm are buffers: each pass in
#           training mode moves them, and the adapter is saved without them. Below, a tower that was trained on studio
#           photos is tuned by LoRA for photos of a phone in dim light. Recall@1 is 1.000, and .016 after
#           PeftModel.from_pretrained, as before the training; merged, too. In the process that trained it,
#           disable_adapter() does not give the base model back: Recall@1 of studio photos is .466 in place of 1.000, so
#           a second adapter that is trained there starts from another network. Nothing is printed; weights, names and
#           shapes are right.
# Do:       put BatchNorm into evaluation mode after each model.train(), or name its layers in modules_to_save; compare
#           one vector before saving and after loading.
# Versions: peft 0.21.2, torch 2.13.0 (up to 6 GB of packages), transformers 5.23.0, accelerate 1.15.0, Python 3.11.7
# Date:     2026-11-30
# Matters for: adapters that are trained outside; ours save each tensor that differs from the base's, buffers, too
#           (pipeline_lib/models/base_weights.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check peft==0.21.2 torch==2.13.0 \
  transformers==5.23.0 accelerate==1.15.0
cd "$folder"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON'
import copy
import sys
from importlib.metadata import version

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.nn.functional import cross_entropy, normalize

names = ("peft", "torch", "transformers", "accelerate")
print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
torch.set_num_threads(1)
torch.manual_seed(0)
KINDS, VALUES, SIZE, WIDTH = 4, 8, 16, 64
PATTERNS = torch.rand(KINDS, VALUES, 3, SIZE, SIZE)
TEXTS = normalize(torch.randn(KINDS, VALUES, WIDTH), dim=-1)
CONVOLUTIONS, NORMS, HEAD = ["0", "3", "6"], ["1", "4", "7"], "10"


def products(count, dim):
    """Return values of four attributes, photos that show them, and the vectors of the titles that name them."""
    values = torch.randint(0, VALUES, (count, KINDS))
    photos = sum(PATTERNS[kind, values[:, kind]] for kind in range(KINDS)) / KINDS
    photos = photos + 0.05 * torch.randn_like(photos)
    titles = normalize(sum(TEXTS[kind, values[:, kind]] for kind in range(KINDS)), dim=-1)
    return values, 0.4 * photos if dim else photos, titles


def trained(tower, dim, steps, norms_move=True):
    """Train a tower so that a photo finds the title of its product."""
    tower.train()
    for layer in tower.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.train(norms_move)
    optimizer = torch.optim.AdamW([part for part in tower.parameters() if part.requires_grad], 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        _, photos, titles = products(64, dim)
        optimizer.zero_grad()
        cross_entropy(normalize(tower(photos)) @ titles.T / 0.05, torch.arange(64)).backward()
        optimizer.step()
        schedule.step()
    return tower


def recall(tower, dim):
    """Return the Recall@1 of 1,000 photos among their titles."""
    torch.manual_seed(1)
    values, photos, titles = products(1_000, dim)
    with torch.no_grad():
        nearest = (normalize(tower.eval()(photos)) @ titles.T).argmax(1)
    return round((values[nearest] == values).all(1).float().mean().item(), 3)


layers = []
for inner, outer in ((3, 32), (32, 64), (64, 64)):
    layers += [nn.Conv2d(inner, outer, 3, 2, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU()]
base = trained(nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * WIDTH, WIDTH)), False, 1_000)
print(f"base model: Recall@1 of studio photos {recall(base, False):.3f}, of dim photos {recall(base, True):.3f}")
result = {}
for name, saved, norms_move in (("default", None, True), ("modules_to_save", NORMS, True), ("eval()", None, False)):
    torch.manual_seed(2)
    config = LoraConfig(r=8, target_modules=[*CONVOLUTIONS, HEAD], modules_to_save=saved)
    model = trained(get_peft_model(copy.deepcopy(base), config), True, 300, norms_move)
    model.save_pretrained("adapter")
    loaded = PeftModel.from_pretrained(copy.deepcopy(base), "adapter")
    with model.disable_adapter():
        without = recall(model, False)
    figures = recall(model, True), recall(loaded, True), recall(loaded.merge_and_unload(), True), without
    result[name] = figures
    print(f"{name}: dim photos {figures[0]:.3f}, loaded {figures[1]:.3f}, merged {figures[2]:.3f};", end=" ")
    print(f"studio photos with the adapter disabled {figures[3]:.3f}")
tuned, loaded, merged, without = result.pop("default")
if not (tuned > 0.9 and max(loaded, merged) < 0.3 and without < 0.8 and min(map(min, result.values())) > 0.9):
    sys.exit("the behaviour has changed")
PYTHON
