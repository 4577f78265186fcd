#!/usr/bin/env bash
# timm 1.0.31: create_optimizer_v2(..., layer_decay=0.65) trains every layer at the full rate unless a scheduler of timm
#             sets the rates: without layer_decay the weights are the same to the bit.
#
# Expected: an optimizer whose layers have smaller rates the nearer they are to the stem; a scheduler scales the rate
#           that a group has, as all of torch's do, so the ratios stay.
# Happens:  each group gets the full `lr` and a key `lr_scale` beside it, which no optimizer reads. Only timm's
#           schedulers multiply by it. With torch's or transformers' schedulers, those of Lightning and accelerate, or
#           none, the setting does nothing; the groups of the optimizer, which a log of rates shows, are all at `lr`,
#           and nothing is printed. So a pretrained tower forgets what layer_decay was set to keep, or one finds that
#           layer-wise decay does not help. Below, a tower that found 96 % of 1,000 new products finds 21 % after
#           tuning on 256 labels, with layer_decay and without, and 92 % with timm's scheduler.
# Do:       multiply each group's lr by its lr_scale, remove lr_scale, and use any scheduler; or use one of timm.
# Versions: timm 1.0.31, torch 2.15.0, torchvision 0.29.2 (6 GB of packages), Python 3.11.7
# Date:     2026-11-30
# Matters for: train.lr_decay, whose groups have rates of their own (pipeline_lib/optim/param_groups.py), and for
#           comparisons with tuning by timm's optimizers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check timm==1.0.31 torch==2.15.0 \
  torchvision==0.29.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import timm
import torch
from timm.models import MlpMixer
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch.nn import functional
from torch.optim.lr_scheduler import CosineAnnealingLR

print(f"timm {timm.__version__}, torch {torch.__version__}, Python {sys.version.split()[0]}")
torch.set_num_threads(1)
BATCH, PRETRAINING, TUNING, RATE = 128, 150, 100, 5e-4


def views(seed, count):
    """Return two pictures of each of some drawn products: other contrast, other light, other noise."""
    draw = torch.Generator().manual_seed(seed)
    products = functional.interpolate(torch.randn(count, 3, 4, 4, generator=draw), size=(32, 32), mode="bilinear")
    contrast = 1 + 0.3 * torch.randn(2, count, 3, 1, 1, generator=draw)
    light = 0.5 * torch.randn(2, count, 3, 1, 1, generator=draw)
    return products * contrast + light + 0.5 * torch.randn(2, count, 3, 32, 32, generator=draw)


def built(classes):
    torch.manual_seed(0)
    return MlpMixer(img_size=32, patch_size=8, num_blocks=4, embed_dim=96, num_classes=classes)


TEST = views(10_000, 1_000)


def recall(model):
    """Return the share of new products whose second picture is nearest to the first."""
    model.eval()
    with torch.no_grad():
        features = [model.forward_head(model.forward_features(one), pre_logits=True) for one in TEST]
    first, second = (functional.normalize(one, dim=1) for one in features)
    return ((first @ second.T).argmax(1) == torch.arange(len(first))).float().mean().item()


tower = built(0)
optimizer = torch.optim.AdamW(tower.parameters(), lr=2e-3)
for step in range(PRETRAINING):
    first, second = (functional.normalize(tower(one), dim=1) for one in views(step, BATCH))
    loss = functional.cross_entropy(20 * first @ second.T, torch.arange(BATCH))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
pretrained = tower.state_dict()
before = recall(tower)
print(f"pretrained: Recall@1 of new products {before:.3f}")


def tuned(name, scheduler, layer_decay, multiplied=False):
    """Return the weights and the recall after tuning on 256 labels of other products."""
    model = built(10)
    model.load_state_dict(pretrained, strict=False)
    optimizer = create_optimizer_v2(model, "adamw", lr=RATE, weight_decay=0.05, layer_decay=layer_decay)
    for group in optimizer.param_groups if multiplied else ():
        group["lr"] *= group.pop("lr_scale")
    if scheduler == "torch":
        schedule = CosineAnnealingLR(optimizer, TUNING)
    else:
        schedule = CosineLRScheduler(optimizer, t_initial=TUNING)
    rates = [group["lr"] for group in optimizer.param_groups]
    pictures = views(20_000, 256)[0]
    labels = (2 * pictures.mean((2, 3))[:, 0]).round().long().clamp(-5, 4) + 5
    model.train()
    for step in range(TUNING):
        rows = torch.randint(0, 256, (64,))
        loss = functional.cross_entropy(model(pictures[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step(*([] if scheduler == "torch" else [step + 1]))
    found = recall(model)
    print(f"{name}: rates {min(rates):.1e} to {max(rates):.1e}, Recall@1 {found:.3f}", flush=True)
    return model.state_dict(), found


plain, without = tuned("torch's scheduler, no layer_decay", "torch", None)
same, ignored = tuned("torch's scheduler, layer_decay 0.65", "torch", 0.65)
_, remembered = tuned("timm's scheduler, layer_decay 0.65", "timm", 0.65)
_, mended = tuned("torch's scheduler, layer_decay 0.65, rates multiplied", "torch", 0.65, multiplied=True)
equal = all(torch.equal(plain[name], same[name]) for name in plain)
print(f"torch's scheduler, with and without layer_decay: weights {'equal to the bit' if equal else 'differ'}")
if not (equal and ignored == without and before > 0.9 and min(remembered, mended) > 0.85 and ignored < 0.7):
    sys.exit("the behaviour has changed")
PYTHON
