"""Trains fold 1 of a tiny project in a process of its own and kills it there: see `forked.forked`."""

import os
import signal
import sys
from pathlib import Path

import torch
from tiny_project import make_settings

from pipeline_lib.training.fold import train_fold
from pipeline_lib.training.fold_data import Inputs
from pipeline_lib.training.trainer import Trainer


def main() -> None:
    """Arguments: the project, the towers of images and texts, the out, the step to kill at, the fingerprint."""
    root, image, text, out = map(Path, sys.argv[1:5])
    kill_at, fingerprint = int(sys.argv[5]), sys.argv[6]
    torch.set_num_threads(1)
    steps, step = [], Trainer._step

    def counted(trainer):
        step(trainer)
        steps.append(1)
        if len(steps) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    Trainer._step = counted
    settings = make_settings(image, text, workers=1, augment="clip", unfreeze_layers=2, epochs=3)
    out.mkdir()
    inputs = Inputs(root / "catalogue", root / "folds", root / "shards", root / "none")
    train_fold(settings, inputs, 1, fingerprint, out)
