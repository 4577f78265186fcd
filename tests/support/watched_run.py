"""Trains a fold while recording weights after each step and epoch and the lr of each step, or stops it early."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline_lib.inference.warm_start import start_folder
from pipeline_lib.models.multimodal import ImageTextModel
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.training.fold import train_fold
from pipeline_lib.training.run_start import RunConfig
from pipeline_lib.training.trainer import Trainer
from pipeline_lib.training.validation import Validator


def run(settings: RunConfig, inputs, name: str, fingerprint: str | None = None, fold: int = 0) -> Path:
    """Train a fold as stages.train does, and return the folder of its outputs."""
    out = Path(name)
    out.mkdir()
    train_fold(settings, started(settings, inputs, fold), fold, fingerprint or name, out)
    return out


def started(settings: RunConfig, inputs, fold: int = 0):
    """The inputs with the trained model that `train.init_from` has for a fold."""
    return replace(inputs, start=start_folder(settings.train.init_from, fold))


def losses(out: Path) -> np.ndarray:
    """Every loss of every epoch in the history of a run."""
    rows = np.genfromtxt(out / "history.csv", delimiter=",", names=True)
    return np.stack([rows[name] for name in rows.dtype.names if "loss" in name or "info" in name or "entropy" in name])


def state_of(model: ImageTextModel) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def first_weights(settings: RunConfig) -> dict[str, torch.Tensor]:
    """The towers' published weights under the names they have in the model."""
    return {
        f"{name}.{key}": value
        for name, source in resolve_towers(settings.model).items()
        for key, value in source.state.items()
    }


def differing(one, other) -> set[str]:
    return {name for name in one.keys() & other.keys() if not torch.equal(one[name], other[name])}


class Watch:
    """Records a run: `start`, `steps`, `epochs` and `measured` have weights, `rates` the lr of each parameter."""

    def __init__(self, monkeypatch) -> None:
        self.start: dict[str, torch.Tensor] = {}
        self.steps: list[dict[str, torch.Tensor]] = []
        self.epochs: list[dict[str, torch.Tensor]] = []
        self.measured: list[dict[str, torch.Tensor]] = []
        self.rates: list[dict[str, float]] = []
        epoch, step, measure = Trainer._epoch, Trainer._step, Validator.measure

        def watched_epoch(trainer, *rest):
            self.start = self.start or state_of(trainer.task.model)
            done = epoch(trainer, *rest)
            self.epochs.append(state_of(trainer.task.model))
            return done

        def watched_step(trainer):
            names = {id(value): name for name, value in trainer.task.model.named_parameters()}
            groups = trainer.optimizer.param_groups
            self.rates.append({names[id(value)]: group["lr"] for group in groups for value in group["params"]})
            step(trainer)
            self.steps.append(state_of(trainer.task.model))

        def watched_measure(validator, task):
            self.measured.append(state_of(task.model))
            return measure(validator, task)

        monkeypatch.setattr(Trainer, "_epoch", watched_epoch)
        monkeypatch.setattr(Trainer, "_step", watched_step)
        monkeypatch.setattr(Validator, "measure", watched_measure)


def stop_before(number: int, settings: RunConfig, inputs, fingerprint: str, monkeypatch) -> None:
    """Start a run and stop it before an epoch."""
    epoch = Trainer._epoch

    def stopped(trainer, now, *rest):
        if now == number:
            raise RuntimeError("stopped")
        return epoch(trainer, now, *rest)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="stopped"):
        patch.setattr(Trainer, "_epoch", stopped)
        run(settings, inputs, f"stopped-{fingerprint}", fingerprint)


def stop_after_steps(number: int, settings: RunConfig, inputs, fingerprint: str, monkeypatch) -> None:
    """Start a run and stop it after a number of steps."""
    step, steps = Trainer._step, []

    def stopped(trainer):
        step(trainer)
        steps.append(1)
        if len(steps) == number:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "_step", stopped)
        run(settings, inputs, f"stopped-{fingerprint}", fingerprint)


def check_resumes(settings: RunConfig, inputs, monkeypatch) -> None:
    """Assert that a run that was stopped after five steps and resumed writes the bytes of one that was not."""
    uninterrupted = run(settings, inputs, "uninterrupted")
    stop_after_steps(5, settings, inputs, "same", monkeypatch)
    resumed = run(settings, inputs, "resumed", "same")
    for file in ("history.csv", "model.safetensors"):
        assert (uninterrupted / file).read_bytes() == (resumed / file).read_bytes(), file
