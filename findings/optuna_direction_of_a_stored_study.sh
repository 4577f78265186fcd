#!/usr/bin/env bash
# optuna 5.0.0: create_study(direction="maximize", load_if_exists=True) goes on minimizing where the study was made
#             without a direction: after 60 trials best_value is .11, with the right direction .90.
#
# Expected: a direction that is not the stored one raises, or counts from now on.
# Happens:  the stored study is returned and the argument is dropped. Without a direction a study minimizes, so whoever
#           notices that after two first trials, adds direction="maximize" and starts again, tunes for the worst
#           Recall@1: below, the last 20 finished trials have a mean of .24, in the other case of .88, and MedianPruner
#           stops trials for a high figure. best_params are those of the worst trial, and a script that trains its
#           final model with them runs through. The log says "Using an existing study" and no direction; the trials
#           themselves look like others, and a high figure is among them by chance (.87). directions=["maximize",
#           "maximize"] gives a study of one objective. The docstring has it in half a sentence: "the creation of the
#           study is skipped, and the existing one is returned".
# Do:       assert study.direction.name == "MAXIMIZE" after create_study, or another study_name for another direction.
# Versions: optuna 5.0.0, numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: settings that are searched by a program around `dvc exp run` (docs/getting-started.md); `vitrine compare`
#           has the direction of each figure in its code (pipeline_lib/experiments/compare/parts.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check optuna==5.0.0 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from importlib.metadata import version
from math import log10

import numpy as np
import optuna
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler

names = ("optuna", "numpy")
print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
TRIALS, EPOCHS, LAST = 60, 5, 20


def objective(trial):
    """Return a Recall@1 that is best at a learning rate of 1e-4, a weight decay of 1e-2 and a temperature of .07."""
    lr = trial.suggest_float("lr", 1e-6, 1e-2, log=True)
    decay = trial.suggest_float("weight_decay", 1e-4, 1, log=True)
    temperature = trial.suggest_float("temperature", 0.01, 0.2)
    recall = 0.9 - 0.15 * (log10(lr) + 4) ** 2 - 0.03 * (log10(decay) + 2) ** 2
    recall -= 10 * (temperature - 0.07) ** 2
    for epoch in range(1, EPOCHS + 1):
        trial.report(recall * epoch / EPOCHS, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return recall


def tuned(name, seed, stored):
    """Tune after two first trials, of a study that was made without a direction or with the right one."""
    storage = f"sqlite:///{sys.argv[1]}/{name}-{seed}.db"
    settings = {"study_name": "lamps", "storage": storage, "load_if_exists": True, "pruner": MedianPruner(5)}
    study = optuna.create_study(sampler=TPESampler(seed=100 + seed), **stored, **settings)
    study.optimize(objective, 2)
    study = optuna.create_study(sampler=TPESampler(seed=seed), direction="maximize", **settings)
    study.optimize(objective, TRIALS)
    done = [trial.value for trial in study.trials if trial.state.name == "COMPLETE"]
    return study.best_value, max(done), np.mean(done[-LAST:]), study.trials, study.direction.name


optuna.logging.set_verbosity(optuna.logging.WARNING)
result = {}
for name, stored in {"maximize": {"direction": "maximize"}, "none": {}}.items():
    runs = [tuned(name, seed, stored) for seed in range(4)]
    best, highest, last = (float(np.mean([run[part] for run in runs])) for part in range(3))
    pruned = float(np.mean([[trial.state.name == "PRUNED" for trial in run[3]] for run in runs]))
    print(f"first trials with direction {name}, then direction='maximize': {runs[0][4]};", end=" ")
    print(f"best_value {best:.3f}, highest Recall@1 {highest:.3f},", end=" ")
    print(f"mean of the last {LAST} {last:.3f}, pruned {pruned:.2f}", flush=True)
    result[name] = best, highest, last
storage = f"sqlite:///{sys.argv[1]}/none-0.db"
both = optuna.create_study(study_name="lamps", storage=storage, load_if_exists=True, directions=["maximize"] * 2)
print(f"directions=['maximize', 'maximize'] of a stored study: {[one.name for one in both.directions]}")
right, wrong = result["maximize"], result["none"]
if not (right[0] > 0.85 and wrong[0] < 0.4 and wrong[2] < right[2] - 0.3) or len(both.directions) != 1:
    sys.exit("the behaviour has changed")
PYTHON
