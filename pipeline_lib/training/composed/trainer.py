"""The training loop of a composed model: epochs, losses, validation, mined negatives, checkpoints.

The random numbers of an epoch depend on (seed, epoch) only, and the mined negatives are in the checkpoint, so a resumed
run repeats what the uninterrupted run would have done, bit for bit.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pipeline_lib.execution.checkpoint import CheckpointFolder
from pipeline_lib.execution.meter import metered
from pipeline_lib.execution.precision import autocast
from pipeline_lib.losses.composed_build import COMPOSED_LOSSES
from pipeline_lib.models.scale_bounds import bounded_scales, clamp_scales
from pipeline_lib.optim.schedules import lr_factor, set_lr
from pipeline_lib.params.composed import ComposedParams
from pipeline_lib.params.runtime import LoggerKind
from pipeline_lib.training.composed.batches import BatchBuilder, ComposedBatch
from pipeline_lib.training.composed.embeddings import Embedder
from pipeline_lib.training.composed.mining import ComposedIndex, mine_negatives
from pipeline_lib.training.composed.stored_inputs import Rows
from pipeline_lib.training.composed.validation import ComposedValidator
from pipeline_lib.training.history import History, Row
from pipeline_lib.training.progress import TrainState, read_losses

# Mined negatives of each query, of which an epoch draws composed.mined_negatives; as many if these are more.
NUM_MINED = 16


@dataclass
class Mined:
    """The negatives of the next epoch (queries, n); None before the first mining and without mining."""

    rows: Rows | None = None


@dataclass(frozen=True)
class ComposedTrainer:
    """A model, its batches and its optimizer; `weights` are those of the losses that are on."""

    params: ComposedParams
    embedder: Embedder
    batches: BatchBuilder
    validator: ComposedValidator
    optimizer: Optimizer
    weights: dict[str, float]
    scaler: torch.amp.GradScaler
    checkpoints: CheckpointFolder
    log_every: int
    logger: LoggerKind

    def run(self, name: str) -> TrainState:
        """Train to the last epoch, and load the weights of the best epoch into the model."""
        mined = Mined()
        state = self._resume(mined)
        metric, epochs = self.params.best_metric, self.params.epochs
        with (
            contextlib.closing(History(name, state.rows, self.logger)) as history,
            metered(f"training {name}") as meter,
        ):
            if not epochs:
                history.add({"epoch": 0, **self._validate()}, 0)
                state.compare(0, history.rows[-1][metric])
                history.print_epoch("not trained: composed.epochs = 0", state.best_epoch, metric)
            elif state.epoch < epochs:
                meter.begin("batches", self.batches.num_batches() * (epochs - state.epoch))
            for epoch in range(state.epoch, epochs):
                row, speed = self._epoch(epoch, mined.rows, history, lambda: meter.add(1))
                history.add({**row, **self._validate()}, epoch)
                if state.compare(epoch, history.rows[-1][metric]):
                    self.checkpoints.save_best({"model": self._trained()})
                meter.clear()
                history.print_epoch(speed, state.best_epoch, metric)
                if self.params.mining == "hard" and epoch + 1 < epochs:
                    mined.rows = self._mine(epoch + 1)
                self._save(state, epoch, history, mined)
        if state.best is None:
            raise ValueError(
                f"composed.best_metric = {metric!r} was not finite in any epoch, so no epoch is the best; lower "
                "composed.lr or set composed.precision = fp32"
            )
        if epochs:
            self._load(self.checkpoints.load_best())
        return state

    @property
    def model(self) -> nn.Module:
        """The model that is trained."""
        return self.embedder.model

    def compute(self, batch: ComposedBatch) -> dict[str, Tensor]:
        """Return the named losses of a batch and their weighted sum `total`, in float32."""
        device, positives = self.embedder.device, batch.positives
        with autocast(device, self.embedder.precision):
            pairs = self.model(
                batch.reference.to(device),
                batch.target.to(device),
                None if positives is None else positives.to(device, non_blocking=True),
            )
        pairs = pairs.as_float()
        named = {name: COMPOSED_LOSSES[name](pairs) for name in self.weights}
        total = torch.stack([self.weights[name] * value for name, value in named.items()]).sum()
        return {**named, "total": total}

    def _epoch(self, epoch: int, mined: Rows | None, history: History, advance: Callable[[], None]) -> tuple[Row, str]:
        """Train one epoch; return its row without the figures of validation, and its speed."""
        params = self.params
        torch.manual_seed(params.seed * 100_003 + epoch)
        self.model.train()
        queries = self.batches.epoch(epoch)
        targets = self.batches.triplets.draw_targets(params.seed, epoch)
        total, started = params.epochs * len(queries), time.perf_counter()
        sums: dict[str, float] = {}
        unread: list[dict[str, Tensor]] = []
        for number, rows in enumerate(queries):
            step = epoch * len(queries) + number
            set_lr(self.optimizer, lr_factor(step, total, round(params.warmup_fraction * total)))
            named = self.compute(self.batches.build(rows, targets, mined, epoch))
            self.scaler.scale(named["total"]).backward()  # type: ignore[no-untyped-call]
            self._step()
            unread.append({name: value.detach() for name, value in named.items()})
            if len(unread) == self.log_every or number + 1 == len(queries):
                history.step(step, read_losses(unread, sums, epoch, number + 1 - len(unread), "composed"))
                unread.clear()
            advance()
        speed = sum(map(len, queries)) / (time.perf_counter() - started)
        means = {key: value / len(queries) for key, value in sums.items()}
        row = {"epoch": epoch, "lr": self.optimizer.param_groups[0]["lr"], **means}
        return row, f"{speed:.0f} queries/s"

    def _step(self) -> None:
        self.scaler.unscale_(self.optimizer)
        if self.params.clip_norm:
            nn.utils.clip_grad_norm_(self._parameters(), self.params.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        clamp_scales(bounded_scales(self.model))

    def _parameters(self) -> list[Tensor]:
        return [value for group in self.optimizer.param_groups for value in group["params"]]

    def _validate(self) -> Row:
        figures = self.validator.measure(self.embedder)
        if self.params.best_metric not in figures:
            raise ValueError(
                f"composed.best_metric = {self.params.best_metric!r}, but composed.protocol = "
                f"{self.params.protocol!r} measures {', '.join(figures)}"
            )
        return figures

    def _mine(self, epoch: int) -> Rows:
        """Return the hard negatives (queries, at least NUM_MINED) of an epoch, by the index of the model as it is."""
        batches, triplets = self.batches, self.batches.triplets
        queries = self.embedder.queries(batches.product_rows[triplets.reference], batches.text_rows[triplets.text])
        targets = triplets.draw_targets(self.params.seed, epoch)
        with TemporaryDirectory(dir=self.checkpoints.folder) as folder:
            index = ComposedIndex(queries, self.embedder.products(batches.product_rows, Path(folder)))
            count = max(NUM_MINED, self.params.mined_negatives)
            return mine_negatives(index, triplets, targets, count, self.embedder.device)

    def _trained(self) -> dict[str, Tensor]:
        """Return the model's buffers and trained parameters; the others are the run's initial weights."""
        frozen = {name for name, value in self.model.named_parameters() if not value.requires_grad}
        return {name: value for name, value in self.model.state_dict().items() if name not in frozen}

    def _save(self, state: TrainState, epoch: int, history: History, mined: Mined) -> None:
        """Save the state that the next epoch starts from."""
        state.epoch = epoch + 1
        checkpoint = {
            "model": self._trained(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "mined": None if mined.rows is None else torch.from_numpy(mined.rows),
            "state": {**vars(state), "rows": history.rows},
        }
        self.checkpoints.save_last(checkpoint)

    def _resume(self, mined: Mined) -> TrainState:
        """Restore the last checkpoint, if there is one, and return the progress of the run."""
        checkpoint = self.checkpoints.load_last()
        if checkpoint is None:
            return TrainState()
        self._load(checkpoint)
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.scaler.load_state_dict(checkpoint["scaler"])
        mined.rows = None if checkpoint["mined"] is None else checkpoint["mined"].numpy()
        return TrainState(**checkpoint["state"])

    def _load(self, checkpoint: dict[str, dict[str, Tensor]]) -> None:
        _, unknown = self.model.load_state_dict(checkpoint["model"], strict=False)
        assert not unknown, unknown
