"""A task is a model and its losses: from a batch to named losses and their weighted total.

The trainer uses only this class, so it depends on no particular loss. A loss may have parameters or a memory
(`StatefulLoss`): the optimizer gets its parameters from the task, and the checkpoint its state.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.execution.precision import autocast, loss_scaler
from pipeline_lib.losses.build import Loss
from pipeline_lib.losses.stateful import StatefulLoss
from pipeline_lib.models.multimodal import ImageTextModel, SuffixGroups
from pipeline_lib.models.scale_bounds import bounded_scales, clamp_scales
from pipeline_lib.training.ema import MomentumEncoder


@dataclass(frozen=True)
class Task:
    """A model with the losses that are on, the weight of each, and a momentum encoder if a loss needs one."""

    model: ImageTextModel
    losses: dict[str, Loss]
    weights: dict[str, float]
    device: str
    precision: str
    # Names of the model's parameters that are trained in at least one epoch.
    trained: frozenset[str]
    momentum_encoder: MomentumEncoder | None = None
    # See `ImageTextModel.features`.
    num_suffix_groups: SuffixGroups = field(default_factory=dict)

    def compute(self, batch: Batch) -> tuple[Outputs, dict[str, Tensor]]:
        """Return the outputs and the named scalar losses, with their weighted sum as `total`."""
        batch = batch.to(self.device)
        outputs = self.forward_all(batch)
        return outputs, self.compute_losses(outputs, batch)

    def forward(self, batch: Batch) -> Outputs:
        """Return the model's outputs for a batch on its device, in the task's precision."""
        with autocast(self.device, self.precision):
            outputs: Outputs = self.model(batch, self.num_suffix_groups)
        return outputs

    def forward_all(self, batch: Batch) -> Outputs:
        """Return all outputs that losses read: the model's and, in training, those of the momentum encoder."""
        outputs = self.forward(batch)
        if self.momentum_encoder is None or not self.model.training:
            return outputs
        with autocast(self.device, self.precision):
            momentum = self.momentum_encoder.embed(batch, self.num_suffix_groups)
        return replace(
            outputs,
            momentum_image_embedding=momentum.image_embedding,
            momentum_text_embedding=momentum.text_embedding,
        )

    def compute_losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the named losses and `total`, in float32: a softmax over bf16 logits has three digits."""
        self.stateful_losses().train(self.model.training)
        named = {name: loss(outputs, batch) for name, loss in self.losses.items()}
        total = torch.stack([self.weights[name] * value for name, value in named.items()]).sum()
        return {**named, "total": total}

    def stateful_losses(self) -> nn.ModuleDict:
        """Return the losses that have parameters or a memory."""
        return self._stateful

    @cached_property
    def _stateful(self) -> nn.ModuleDict:
        return nn.ModuleDict({name: loss for name, loss in self.losses.items() if isinstance(loss, StatefulLoss)})

    def loss_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Return the parameters of the losses, by name; like the heads, they have no pretrained weights."""
        return list(self.stateful_losses().named_parameters())

    def begin_epoch(self, epoch: int) -> None:
        """Give the number of the epoch to the stateful losses."""
        for loss in self.losses.values():
            if isinstance(loss, StatefulLoss):
                loss.begin_epoch(epoch)

    def end_step(self) -> None:
        """Clamp the learned scales after an optimizer step, then update the momentum encoder."""
        clamp_scales(self._scales)
        if self.momentum_encoder is not None:
            self.momentum_encoder.update(self.model)

    def trained_state(self) -> dict[str, Tensor]:
        """Return the model's buffers and trained weights; all other weights are the run's initial weights."""
        return trained_state(self.model, self.trained)

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint: trained weights, those of the momentum encoder, and the losses' state."""
        trained = self.trained_state()
        state: dict[str, Any] = {"model": trained, "losses": self.stateful_losses().state_dict()}
        state["scaler"] = self.scaler.state_dict()
        if self.momentum_encoder is not None:
            momentum = self.momentum_encoder.model.state_dict()
            state["momentum_encoder"] = {name: momentum[name] for name in trained}
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore a `state`, or one with the model's weights only."""
        encoder = self.momentum_encoder.model if self.momentum_encoder is not None else None
        for name, module in (("model", self.model), ("momentum_encoder", encoder)):
            if module is not None and name in state:
                _, unknown = module.load_state_dict(state[name], strict=False)
                assert not unknown, unknown
        if "losses" in state:
            self.stateful_losses().load_state_dict(state["losses"])
            self.scaler.load_state_dict(state["scaler"])

    @cached_property
    def scaler(self) -> torch.amp.GradScaler:
        """The scale of the loss in fp16; it does nothing in other precisions."""
        return loss_scaler(self.device, self.precision)

    @cached_property
    def _scales(self) -> list[tuple[Tensor, tuple[float, float]]]:
        return bounded_scales(self.model)


def trained_state(model: nn.Module, trained: Collection[str]) -> dict[str, Tensor]:
    """Return a model's buffers and its parameters whose names are in `trained`.

    Parameters that open in a later epoch are included. So if an early epoch is the best, its weights replace those of
    every layer that was opened after it.
    """
    others = {name for name, _ in model.named_parameters()} - set(trained)
    return {name: value for name, value in model.state_dict().items() if name not in others}
