"""The training loop: epochs, gradient accumulation, validation, checkpoints and early stopping.

No step waits for a value on the device: losses stay there and are read every `runtime.log_every` steps. A loss that is
not finite stops the run with the values of all losses. The random numbers of an epoch depend on (seed, epoch, process)
only, so a resumed run repeats what the uninterrupted run would have done. With several processes, each runs this loop;
the first one validates, decides and writes while the others wait.
"""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pipeline_lib.execution.checkpoint import CheckpointFolder
from pipeline_lib.execution.meter import metered
from pipeline_lib.loading.dataset import BatchKey, data_loader
from pipeline_lib.optim.freezing import UnfreezeEpochs, set_epoch, set_frozen_eval
from pipeline_lib.optim.schedules import lr_factor, set_lr, warmup_steps
from pipeline_lib.params.train import BestMetric
from pipeline_lib.training.ema import WeightEma
from pipeline_lib.training.grad_cache import backward_jointly
from pipeline_lib.training.history import History, Row
from pipeline_lib.training.loaders import Loaders
from pipeline_lib.training.prefetch import on_device
from pipeline_lib.training.progress import TrainState, read_losses
from pipeline_lib.training.run_start import RunConfig
from pipeline_lib.training.samplers import BatchSampler, EpochBatches, without_lone_row
from pipeline_lib.training.task import Task

# train.best_metric -> (column of the history, whether more is better).
MONITORS: dict[BestMetric, tuple[str, bool]] = {
    "MeanRecall": ("MeanRecall", True),
    "R@1": ("R@1", True),
    "R@5": ("R@5", True),
    "R@10": ("R@10", True),
    "i2t_MeanRecall": ("i2t_MeanRecall", True),
    "top1": ("top1", True),
    "top3": ("top3", True),
    "macro_f1": ("macro_f1", True),
    "balanced_accuracy": ("balanced_accuracy", True),
    "loss": ("val_loss", False),
}


@dataclass(frozen=True)
class Trainer:
    """A task, its data and its optimizer; `unfreeze_epochs` has the epoch that opens each layer group of a tower."""

    config: RunConfig
    task: Task
    optimizer: Optimizer
    sampler: BatchSampler
    loaders: Loaders
    checkpoints: CheckpointFolder
    unfreeze_epochs: dict[str, UnfreezeEpochs]
    ema: WeightEma | None = None

    def run(self, name: str) -> TrainState:
        """Train to the last epoch or to the early stop, and load the weights of the best epoch into the model."""
        state, processes = self._resume(), self.config.processes
        first_epoch, num_epochs = state.epoch, self.config.train.epochs
        upcoming: list[EpochBatches] = []
        with (
            contextlib.closing(History(name, state.rows, self.config.runtime.logger, processes.is_first)) as history,
            metered(f"training {name}", is_first=processes.is_first) as meter,
        ):
            for epoch in range(first_epoch, num_epochs):
                if self._stops_early(state):
                    break
                if not upcoming:
                    accumulate = self.config.train.accumulate
                    upcoming = [without_lone_row(one, accumulate) for one in self.sampler.upcoming(epoch)]
                    keys = [key for batches in upcoming for key in batches]
                    device = self.task.device
                    stream = on_device(data_loader(self.loaders.training, keys, self.loaders.workers, device), device)
                if epoch == first_epoch:
                    meter.begin("batches", len(upcoming[0]) * (num_epochs - first_epoch))
                row, speed = self._epoch(epoch, upcoming.pop(0), stream, history, lambda: meter.add(1))
                self._end_epoch(epoch)
                with self.ema.applied() if self.ema else contextlib.nullcontext():
                    history.add({**row, **processes.broadcast_from_first(self._validate)}, epoch)
                    self._save_best(state, epoch, history)
                meter.clear()
                history.print_epoch(speed, state.best_epoch, MONITORS[self.config.train.best_metric][0])
                self._save(state, epoch, history)
        if state.best is None:
            raise ValueError(
                f"train.best_metric = {self.config.train.best_metric!r} was not finite in any epoch, so no epoch is "
                "the best; lower train.tower_lr and train.head_lr, set train.precision = fp32, or choose another metric"
            )
        processes.barrier()  # the first process may still be writing the file that is read next
        self.task.load_state(self.checkpoints.load_best())
        return state

    def _epoch(
        self, epoch: int, keys: Sequence[BatchKey], stream: Any, history: History, advance: Callable[[], None]
    ) -> tuple[Row, str]:
        """Train one epoch; return its row without the validation metrics, and its speed."""
        params, processes = self.config.train, self.config.processes
        torch.manual_seed(processes.seed(self.config.train.seed * 100_003 + epoch))
        self.task.begin_epoch(epoch)
        self._set_modes(epoch)
        size = params.accumulate
        steps = [keys[start : start + size] for start in range(0, len(keys), size)]
        total, started, images = params.epochs * len(steps), time.perf_counter(), 0
        sums: dict[str, float] = {}
        unread: list[dict[str, Tensor]] = []
        warmup = warmup_steps(params, total)
        for number, step_keys in enumerate(steps):
            step = epoch * len(steps) + number
            set_lr(self.optimizer, lr_factor(step, total, warmup, params.lr_schedule))
            batches = [next(stream) for _ in step_keys]
            outputs, named = backward_jointly(self.task, batches, processes)
            self.sampler.record(outputs, batches)
            self._step()
            images += sum(len(batch.product) for batch in batches)
            unread.append(named)
            if len(unread) == self.config.runtime.log_every or number + 1 == len(steps):
                losses = read_losses(unread, sums, epoch, number + 1 - len(unread))
                history.step(step, {**losses, **self._loss_scale()})
                unread.clear()
            for _ in step_keys:
                advance()
        seconds = time.perf_counter() - started
        history.step(step, {"images_per_second": images / seconds})
        means = {key: value / len(steps) for key, value in sums.items()}
        row = {"epoch": epoch, "lr": self.optimizer.param_groups[-1]["lr"], **means}
        return row, f"{images / seconds:.0f} images/s"

    def _set_modes(self, epoch: int) -> None:
        """Open the layer groups of an epoch, and put the frozen layers into evaluation mode."""
        for name, tower in self.task.model.train().towers().items():
            set_epoch(tower, tower.layer_groups(), self.unfreeze_epochs[name], epoch)
            # A tower that is frozen altogether is in evaluation mode with all its modules.
            trains = any(parameter.requires_grad for parameter in tower.parameters())
            prefix = tower.frozen_prefix() if trains else ()
            set_frozen_eval(tower, prefix, self.config.train.batch_norm == "running")

    def _step(self) -> None:
        parameters = self._parameters()
        self.config.processes.average_gradients(parameters)
        scaler = self.task.scaler
        scaler.unscale_(self.optimizer)
        if self.config.train.clip_norm:
            nn.utils.clip_grad_norm_(parameters, self.config.train.clip_norm)
        scaler.step(self.optimizer)
        scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.task.end_step()
        if self.ema:
            self.ema.update()

    def _loss_scale(self) -> Row:
        """Return the loss scale of fp16, for the curves; ValueError if gradients overflow even without one."""
        scaler = self.task.scaler
        if scaler.is_enabled() and scaler.get_scale() < 1:
            raise ValueError(
                "train.precision = fp16: gradients overflow without any loss scale, so no step is made; lower "
                "train.tower_lr and train.head_lr, or set train.precision = bf16 or fp32"
            )
        return {"loss_scale": scaler.get_scale()} if scaler.is_enabled() else {}

    def _parameters(self) -> list[Tensor]:
        return [value for group in self.optimizer.param_groups for value in group["params"]]

    def _end_epoch(self, epoch: int) -> None:
        """Choose the next epoch's batches; all processes use those of the first one."""
        self.sampler.end_epoch(epoch)
        processes = self.config.processes
        if processes.world_size > 1:
            processes.check_equal(self._parameters())
            self.sampler.load_state(processes.broadcast_from_first(self.sampler.state))

    def _validate(self) -> dict[str, float]:
        return self.loaders.validator.measure(self.task)

    def _save_best(self, state: TrainState, epoch: int, history: History) -> None:
        """Save the validated weights if no earlier epoch was better; see `TrainState.compare`."""
        metric = self.config.train.best_metric
        column, more_is_better = MONITORS[metric]
        row = history.rows[-1]
        if column not in row:
            raise ValueError(
                f"train.best_metric = {metric!r}, but this run measures only "
                f"{', '.join(key for key in row if key in {name for name, _ in MONITORS.values()})}"
            )
        value = row[column]
        if not math.isfinite(value):
            history.console.print(f"epoch {epoch}: {column} is {value}, so this epoch is not compared", highlight=False)
        if state.compare(epoch, value, more_is_better):
            self.checkpoints.save_best({"model": self.task.trained_state()})

    def _save(self, state: TrainState, epoch: int, history: History) -> None:
        """Save the state that the next epoch starts from."""
        state.epoch = epoch + 1
        checkpoint = {
            **self.task.state(),
            "ema": self.ema.state() if self.ema else {},
            "optimizer": self.optimizer.state_dict(),
            "sampler": self.sampler.state(),
            "state": {**vars(state), "rows": history.rows},
        }
        self.checkpoints.save_last(checkpoint)

    def _resume(self) -> TrainState:
        """Restore the last checkpoint, if there is one, and return the progress of the run."""
        checkpoint = self.checkpoints.load_last()
        if checkpoint is None:
            return TrainState()
        self.task.load_state(checkpoint)
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.sampler.load_state(checkpoint["sampler"])
        if self.ema:
            self.ema.load_state(checkpoint["ema"])
        return TrainState(**checkpoint["state"])

    def _stops_early(self, state: TrainState) -> bool:
        patience = self.config.train.patience
        return patience > 0 and state.best_epoch >= 0 and state.epoch - 1 - state.best_epoch >= patience
