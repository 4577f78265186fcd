"""A task is a model and its losses: from a batch to named losses and their weighted total.

The loop knows this face alone, so it never hears of InfoNCE or of a classifier.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline_lib.losses.build import Loss
from pipeline_lib.models.multimodal import ImageTextModel
from pipeline_lib.records import Batch, Outputs


@dataclass(frozen=True)
class Task:
    """A model with the losses that are on and the weight of each."""

    model: ImageTextModel
    losses: dict[str, Loss]
    weights: dict[str, float]
    device: str
    precision: str

    def run(self, batch: Batch) -> tuple[Outputs, dict[str, Tensor]]:
        """Return the outputs and the named scalar losses, with their weighted sum as `total`.

        The model runs in the task's precision, the losses in float32: a softmax over bf16 logits has three digits.
        """
        batch = batch.to(self.device)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16"):
            outputs: Outputs = self.model(batch)
        named = {name: loss(outputs, batch) for name, loss in self.losses.items()}
        total = torch.stack([self.weights[name] * value for name, value in named.items()]).sum()
        return outputs, {**named, "total": total}
