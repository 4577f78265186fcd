#!/usr/bin/env bash
# lightning 2.6.6: EMAWeightAveraging(update_starting_at_step=200) validates the untrained model until then, so
#             EarlyStopping ends the run and fit returns it: Recall@1 .001 in place of .984; update_starting_at_epoch
#             does not delay anything.
#
# Expected: before the start there is no average, so the trained weights are validated, saved and returned; the two
#           arguments say the same thing in steps and in epochs.
# Happens:  the average is a copy of the first weights until its first update, and it replaces the model in each
#           validation and at the end of fit (by its code in checkpoints, too), updated or not. Recall@1 in validation
#           is .001 for all epochs before the start; EarlyStopping with a patience of 3 stops after the fourth, and the
#           model that is left is the first one, which was never trained. So is one whose training ends before the
#           start. And with update_starting_at_epoch=15 all steps from the first are averaged, as the condition on steps
#           holds where no step is given: with a decay of .9999 Recall@1 is .003 after 20 epochs, with the same start as
#           a step .979. Nothing is printed about it. Validation before the start is known (issue 21724 of
#           pytorch-lightning, open); for the rest no issue was found.
# Do:       give the start as a step, with no EarlyStopping before it; compare n_averaged in averaging_state of a
#           checkpoint with the steps that should be averaged.
# Versions: lightning 2.6.6, torch 2.13.0 (up to 6 GB of packages), numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: towers that are trained outside; our average starts with the first step and forgets the first weights by
#           a decay that rises (pipeline_lib/training/ema.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check lightning==2.6.6 torch==2.13.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import logging
import sys
import warnings
from importlib.metadata import version

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging
from torch import nn
from torch.nn.functional import cross_entropy, normalize
from torch.utils.data import DataLoader, TensorDataset

names = ("lightning", "torch", "numpy")
print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
warnings.filterwarnings("ignore", message=".*does not have many workers.*")
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
torch.set_num_threads(1)
PRODUCTS, TEST, WIDTH, BATCH, EPOCHS = 2_560, 1_000, 64, 64, 20  # 40 steps an epoch
draws = torch.Generator().manual_seed(0)
mixed = torch.randn(WIDTH, WIDTH, generator=draws)
titles = normalize(torch.randn(PRODUCTS + TEST, WIDTH, generator=draws), dim=1)
photos = torch.tanh(titles @ mixed) + 0.5 * torch.randn(len(titles), WIDTH, generator=draws)
train = DataLoader(TensorDataset(photos[:PRODUCTS], titles[:PRODUCTS]), BATCH, shuffle=True)
test = DataLoader(TensorDataset(photos[PRODUCTS:], titles[PRODUCTS:]), TEST)


def recall(tower, batch):
    """Return the Recall@1 of photos among their titles."""
    with torch.no_grad():
        nearest = (normalize(tower.net(batch[0]), dim=1) @ batch[1].T).argmax(1)
    return round((nearest == torch.arange(TEST)).float().mean().item(), 3)


class Tower(LightningModule):
    """A tower for photos that is trained towards the vectors of titles."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(WIDTH, 256), nn.ReLU(), nn.Linear(256, WIDTH))
        self.seen = []

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-3)

    def training_step(self, batch, _):
        return cross_entropy(normalize(self.net(batch[0]), dim=1) @ batch[1].T / 0.05, torch.arange(BATCH))

    def validation_step(self, batch, _):
        self.seen.append(recall(self, batch))
        self.log("recall", self.seen[-1])


def fitted(name, average, stop, epochs=EPOCHS):
    """Print and return the Recall@1 after fit, that of each validation, and how many steps were averaged."""
    seed_everything(0, verbose=False)
    callbacks = [EMAWeightAveraging(**average)] if average else []
    tower = Tower()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[*callbacks, *([EarlyStopping("recall", mode="max", patience=3)] if stop else [])],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(tower, train, test)
    trainer.save_checkpoint("last.ckpt")
    state = torch.load("last.ckpt", weights_only=False).get("averaging_state", {})
    averaged = int(state.get("n_averaged", 0))
    final = recall(tower, (photos[PRODUCTS:], titles[PRODUCTS:]))
    print(f"{name}: Recall@1 {final:.3f} after {trainer.current_epoch} epochs, {averaged} steps averaged;", end=" ")
    print("in validation", *(f"{value:.3f}" for value in tower.seen[:6]), "...")
    return final, tower.seen, averaged


slow = {"decay": 0.9999}
result = [
    fitted("no average, early stopping", None, True),
    fitted("decay .99, early stopping", {"decay": 0.99}, True),
    fitted("decay .99 from step 200, early stopping", {"decay": 0.99, "update_starting_at_step": 200}, True),
    fitted("decay .99 from step 200", {"decay": 0.99, "update_starting_at_step": 200}, False),
    fitted("decay .99 from step 200, 4 epochs", {"decay": 0.99, "update_starting_at_step": 200}, False, 4),
    fitted("decay .9999 from step 600", slow | {"update_starting_at_step": 600}, False),
    fitted("decay .9999 from epoch 15", slow | {"update_starting_at_epoch": 15}, False),
]
plain, whole, stopped, later, short, by_step, by_epoch = result
if min(plain[0], whole[0], later[0], by_step[0]) < 0.9 or (by_step[2], later[2]) != (200, 600):
    sys.exit("the behaviour has changed")
if max(stopped[0], short[0]) > 0.01 or len(stopped[1]) != 4 or len(set(stopped[1])) != 1:
    sys.exit("the behaviour has changed")
if by_epoch[0] > 0.05 or by_epoch[2] < 800:
    sys.exit("the behaviour has changed")
PYTHON
