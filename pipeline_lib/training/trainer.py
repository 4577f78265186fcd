"""The training loop: epochs, accumulation, checkpoints, early stopping; it knows named losses and nothing of tasks.

No step waits for a value on the device: losses are added up there and read every `log_every` steps, where a
non-finite one stops the run with every term. An epoch's random numbers depend on (seed, epoch, process) alone, so a
run that was killed and goes on from its last epoch repeats what it would have done. With several processes every one
runs this loop; the first measures, decides and writes while the others wait.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import Progress
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import Dataset

from pipeline_lib.batch import Batch
from pipeline_lib.execution.checkpoint import CheckpointFolder
from pipeline_lib.execution.process_group import SINGLE_PROCESS, ProcessGroup
from pipeline_lib.loading.dataset import data_loader
from pipeline_lib.optim.freezing import UnfreezeEpochs, set_epoch, set_frozen_eval
from pipeline_lib.optim.schedules import lr_factor, set_lr, warmup_steps
from pipeline_lib.params.train import TrainParams
from pipeline_lib.training.ema import WeightEma
from pipeline_lib.training.grad_cache import backward_jointly
from pipeline_lib.training.history import History, Row
from pipeline_lib.training.prefetch import on_device
from pipeline_lib.training.samplers import BatchSampler, Order
from pipeline_lib.training.task import Task

LAST, BEST = "last.pt", "best.pt"
# best_metric in params -> column of the history, and whether more is better.
CHOICES: dict[str, tuple[str, bool]] = {
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


@dataclass
class TrainState:
    """How far a run has come; saved with every checkpoint."""

    epoch: int = 0
    best: float | None = None
    best_epoch: int = -1
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Trainer:
    """All that one run needs; `measure` returns the held-out figures of the model as it is."""

    task: Task
    optimizer: Optimizer
    accelerator: Accelerator
    batches: Dataset[Batch]
    orders: BatchSampler
    params: TrainParams
    seed: int
    workers: int
    log_every: int
    checkpoints: CheckpointFolder
    measure: Callable[[], dict[str, float]]
    unfreeze_epochs: dict[str, UnfreezeEpochs]
    average: WeightEma | None
    processes: ProcessGroup = SINGLE_PROCESS

    def run(self, name: str) -> TrainState:
        """Train to the end or to the early stop, and leave the best epoch's weights in the model."""
        progression = self._resume()
        history = History(name, progression.rows, self.processes.is_first)
        started_at = progression.epoch
        coming: list[Order] = []
        with Progress(console=Console(stderr=True), disable=not history.console.is_terminal) as progress:
            bar = progress.add_task("training", total=None)
            for epoch in range(started_at, self.params.epochs):
                if self._is_over(progression):
                    break
                if not coming:
                    coming = self.orders.coming(epoch)
                    keys = [key for order in coming for key in order]
                    device = self.task.device
                    stream = on_device(data_loader(self.batches, keys, self.workers, device), device)
                    progress.update(bar, total=len(coming[0]) * (self.params.epochs - started_at))
                row, remark = self._epoch(epoch, coming.pop(0), stream, history, lambda: progress.advance(bar))
                self._end_epoch(epoch)
                with self.average.in_place() if self.average else contextlib.nullcontext():
                    history.add({**row, **self.processes.broadcast_from_first(self.measure)}, epoch, remark)
                    self._keep_best(progression, epoch, history)
                self._save(progression, epoch, history)
        history.close()
        self.processes.barrier()  # for the first one, which may still be writing what is read now
        self._restore(self.checkpoints.load(BEST))
        return progression

    def _epoch(
        self, epoch: int, order: Sequence[Any], stream: Any, history: History, advance: Callable[[], None]
    ) -> tuple[Row, str]:
        """Train one epoch; return its row, without what is measured after it, and its speed."""
        torch.manual_seed(self.processes.seed(self.seed * 100_003 + epoch))
        self.task.begin_epoch(epoch)
        model = self.task.model.train()
        for name, tower in model.towers().items():
            set_epoch(tower, tower.layer_groups(), self.unfreeze_epochs[name], epoch)
            set_frozen_eval(tower, tower.frozen_prefix(), self.params.batch_norm == "running")
        size = self.params.accumulate
        groups = [order[start : start + size] for start in range(0, len(order), size)]
        total, begun, images = self.params.epochs * len(groups), time.perf_counter(), 0
        sums: dict[str, float] = {}
        unread: list[dict[str, Tensor]] = []
        warmup = warmup_steps(self.params, total)
        for number, group in enumerate(groups):
            step = epoch * len(groups) + number
            set_lr(self.optimizer, lr_factor(step, total, warmup, self.params.lr_schedule))
            batches = [next(stream) for _ in group]
            outputs, named = backward_jointly(self.task, batches, self.accelerator.backward, self.processes)
            self.orders.gather(outputs, batches)
            self._step()
            images += sum(len(batch.product) for batch in batches)
            unread.append(named)
            if len(unread) == self.log_every or number + 1 == len(groups):
                history.step(step, add_up(unread, sums, epoch, number + 1 - len(unread)))
                unread.clear()
            for _ in group:
                advance()
        seconds = time.perf_counter() - begun
        history.step(step, {"images_per_second": images / seconds})
        means = {key: value / len(groups) for key, value in sums.items()}
        row = {"epoch": epoch, "lr": self.optimizer.param_groups[-1]["lr"], **means}
        return row, f"{images / seconds:.0f} images/s"

    def _step(self) -> None:
        parameters = self._parameters()
        self.processes.average_gradients(parameters)
        if self.params.clip_norm:
            self.accelerator.clip_grad_norm_(parameters, self.params.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.task.end_step()
        if self.average:
            self.average.update()

    def _parameters(self) -> list[Tensor]:
        return [value for group in self.optimizer.param_groups for value in group["params"]]

    def _end_epoch(self, epoch: int) -> None:
        """Settle the next epoch's batches, for all processes as the first one has them."""
        self.orders.end_epoch(epoch)
        if self.processes.world_size > 1:
            self.processes.check_equal(self._parameters())
            self.orders.load_state(self.processes.broadcast_from_first(self.orders.state))

    def _keep_best(self, progression: TrainState, epoch: int, history: History) -> None:
        """Save the weights as they were measured if no epoch was better."""
        column, more = CHOICES[self.params.best_metric]
        row = history.rows[-1]
        if column not in row:
            raise ValueError(
                f"train.best_metric = {self.params.best_metric!r}, but this run measures only "
                f"{', '.join(key for key in row if key in {name for name, _ in CHOICES.values()})}"
            )
        value = row[column]
        if progression.best is None or (value > progression.best if more else value < progression.best):
            progression.best, progression.best_epoch = value, epoch
            self.checkpoints.save(BEST, {"model": self.task.trained_state()})

    def _save(self, progression: TrainState, epoch: int, history: History) -> None:
        """Save all that the next epoch starts from."""
        progression.epoch = epoch + 1
        state = {
            **self.task.state(),
            "average": self.average.state() if self.average else [],
            "optimizer": self.optimizer.state_dict(),
            "orders": self.orders.state(),
            "progression": {**vars(progression), "rows": history.rows},
        }
        self.checkpoints.save(LAST, state)

    def _resume(self) -> TrainState:
        state = self.checkpoints.load(LAST)
        if state is None:
            return TrainState()
        self._restore(state)
        self.optimizer.load_state_dict(state["optimizer"])
        self.orders.load_state(state["orders"])
        if self.average:
            self.average.restore(state["average"])
        return TrainState(**state["progression"])

    def _restore(self, state: dict[str, Any] | None) -> None:
        assert state is not None, "a run has at least one epoch"
        self.task.load_state(state)

    def _is_over(self, progression: TrainState) -> bool:
        waited = progression.epoch - 1 - progression.best_epoch
        return self.params.patience > 0 and progression.best_epoch >= 0 and waited >= self.params.patience


def add_up(unread: list[dict[str, Tensor]], sums: dict[str, float], epoch: int, first: int) -> dict[str, float]:
    """Read the losses of some batches off the device in one go, add them to `sums`, and return the last ones.

    ValueError for the first batch whose loss is not finite, with every term of it.
    """
    names = list(unread[0])
    values = torch.stack([torch.stack([terms[name].float() for name in names]) for terms in unread]).cpu()
    broken = (~values.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if broken:
        terms = ", ".join(f"{name} {value:g}" for name, value in zip(names, values[broken[0]].tolist(), strict=True))
        raise ValueError(
            f"a loss is not finite at epoch {epoch}, batch {first + broken[0]}: {terms}; lower train.tower_lr and "
            "train.head_lr, or set train.precision = fp32"
        )
    for name, value in zip(names, values.double().sum(dim=0).tolist(), strict=True):
        sums[name] = sums.get(name, 0.0) + value
    return dict(zip(names, values[-1].tolist(), strict=True))
