"""A task is a model and its losses: from a batch to named losses and their weighted total.

The loop knows this face alone, so it never hears of InfoNCE or of a classifier. Losses may learn or remember
(`StatefulLoss`): the task lends the optimizer their parameters and the checkpoint their state.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.build import Loss
from pipeline_lib.losses.stateful import StatefulLoss
from pipeline_lib.models.multimodal import ImageTextModel, SuffixGroups
from pipeline_lib.training.momentum_encoder import MomentumEncoder


@dataclass(frozen=True)
class Task:
    """A model with the losses that are on and the weight of each, and its slow copy if a loss reads one."""

    model: ImageTextModel
    losses: dict[str, Loss]
    weights: dict[str, float]
    device: str
    precision: str
    # Parameters of the model that are trained at some time of the run.
    trained: frozenset[str]
    slow: MomentumEncoder | None = None
    num_suffix_groups: SuffixGroups = field(default_factory=dict)

    def run(self, batch: Batch) -> tuple[Outputs, dict[str, Tensor]]:
        """Return the outputs and the named scalar losses, with their weighted sum as `total`."""
        batch = batch.to(self.device)
        outputs = self.observe(batch)
        return outputs, self.price(outputs, batch)

    def forward(self, batch: Batch) -> Outputs:
        """Return what the model says of a batch on its device, in the task's precision."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16"):
            outputs: Outputs = self.model(batch, self.num_suffix_groups)
        return outputs

    def observe(self, batch: Batch) -> Outputs:
        """Return all that losses read: what the model says and, in training, what its slow copy says."""
        outputs = self.forward(batch)
        if self.slow is None or not self.model.training:
            return outputs
        with torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16"):
            said = self.slow.embed(batch, self.num_suffix_groups)
        return replace(
            outputs, momentum_image_embedding=said.image_embedding, momentum_text_embedding=said.text_embedding
        )

    def price(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Return the named losses and `total`, in float32: a softmax over bf16 logits has three digits."""
        self.stateful().train(self.model.training)
        named = {name: loss(outputs, batch) for name, loss in self.losses.items()}
        total = torch.stack([self.weights[name] * value for name, value in named.items()]).sum()
        return {**named, "total": total}

    def stateful(self) -> nn.ModuleDict:
        """Return the losses that learn or remember."""
        return nn.ModuleDict({name: loss for name, loss in self.losses.items() if isinstance(loss, StatefulLoss)})

    def loss_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Return the parameters of losses, by name; like the heads, they are new and have no weights to begin with."""
        return list(self.stateful().named_parameters())

    def begin_epoch(self, epoch: int) -> None:
        """Tell the losses which epoch begins."""
        for loss in self.losses.values():
            if isinstance(loss, StatefulLoss):
                loss.begin_epoch(epoch)

    def end_step(self) -> None:
        """Let the slow copy follow the weights that the optimizer has just changed."""
        if self.slow is not None:
            self.slow.follow(self.model)

    def trained_state(self) -> dict[str, Tensor]:
        """Return the model's weights and buffers that do not come back from what the run began with."""
        return trained_state(self.model, self.trained)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs: trained weights, those of the slow copy, and the losses' state."""
        trained = self.trained_state()
        state: dict[str, Any] = {"model": trained, "losses": self.stateful().state_dict()}
        if self.slow is not None:
            slow = self.slow.model.state_dict()
            state["slow"] = {name: slow[name] for name in trained}
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back a `state`, or one with the model's weights alone."""
        modules = {"model": self.model, "slow": self.slow.model if self.slow is not None else None}
        for name, module in modules.items():
            if module is not None and name in state:
                _, unknown = module.load_state_dict(state[name], strict=False)
                assert not unknown, unknown
        if "losses" in state:
            self.stateful().load_state_dict(state["losses"])


def trained_state(model: torch.nn.Module, trained: Collection[str]) -> dict[str, torch.Tensor]:
    """Return buffers and the named parameters, those that are trained at some time.

    All others come back from the weights the run began with. Those that only open later are in it too: an early epoch
    restored over a later one must close nothing half-trained.
    """
    others = {name for name, _ in model.named_parameters()} - set(trained)
    return {name: value for name, value in model.state_dict().items() if name not in others}
