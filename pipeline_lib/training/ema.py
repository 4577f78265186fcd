"""Exponential moving averages of the weights: the average that is validated and saved, and the momentum encoder.

`WeightEma` averages the trained parameters (Polyak averaging; Tarvainen and Valpola 2017, arXiv:1703.01780).
`MomentumEncoder` is a copy of the whole model whose weights follow the trained ones (MoCo, He et al. 2020,
arXiv:1911.05722).
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.models.multimodal import NO_SUFFIX, ImageTextModel, SuffixGroups

# Share of the initial weights in a plain average, decay^steps, above which the run is too short for its decay.
TOO_SLOW = 0.1


def ramped_decay(decay: float, updates: int) -> float:
    """Return min(decay, (1 + n) / (10 + n)) after n updates, so that the initial weights are soon forgotten.

    Source: the `num_updates` of TensorFlow's ExponentialMovingAverage.

    >>> [round(ramped_decay(0.9, updates), 3) for updates in (0, 1, 10, 80, 81)]
    [0.1, 0.182, 0.55, 0.9, 0.9]
    """
    return min(decay, (1 + updates) / (10 + updates))


def ema_warnings(decay: float, steps: int) -> list[str]:
    """Return a warning if a run of `steps` steps is too short for the decay."""
    plain = decay**steps
    if plain <= TOO_SLOW:
        return []
    return [
        f"train.ema_decay = {decay:g}: the run has {steps} steps, and {decay:g}^{steps} = {plain:.2g}, so the average "
        f"reaches back over the whole run; its decay rises only to {ramped_decay(decay, steps - 1):.3g}. Use at most "
        f"{0.01 ** (1 / steps):.3g}, or train longer"
    ]


class WeightEma:
    """Averages of some parameters, updated once a step: average = d * average + (1 - d) * value, d = `ramped_decay`.

    The averages start at the initial weights. Buffers, such as running statistics, are not averaged.
    """

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._parameters = list(parameters)
        self._averages = [value.detach().clone() for value in parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Add the weights after one step to the averages."""
        share = 1 - ramped_decay(self.decay, self.updates)
        torch._foreach_lerp_(self._averages, [value.detach() for value in self._parameters], share)
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Replace the model's parameters by their averages inside a `with` block."""
        trained = [value.detach().clone() for value in self._parameters]
        self._copy(self._averages)
        try:
            yield
        finally:
            self._copy(trained)

    def state(self) -> dict[str, Any]:
        """Return the averages and the number of updates, for a checkpoint."""
        return {"averages": self._averages, "updates": self.updates}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore a `state`."""
        self.updates = state["updates"]
        for own, value in zip(self._averages, state["averages"], strict=True):
            own.copy_(value)

    @torch.no_grad()
    def _copy(self, values: Sequence[Tensor]) -> None:
        for own, value in zip(self._parameters, values, strict=True):
            own.copy_(value)


@dataclass(frozen=True)
class MomentumEncoder:
    """A copy of the model, updated after every step: copy = momentum * copy + (1 - momentum) * trained.

    It embeds the training batches without gradient and in evaluation mode. Without dropout, the embeddings of a product
    change with the weights only. It draws no random numbers, so it does not change the other draws of a run.
    """

    model: ImageTextModel
    momentum: float

    @torch.no_grad()
    def embed(self, batch: Batch, num_suffix_groups: SuffixGroups = NO_SUFFIX) -> Outputs:
        """Return the copy's outputs; `num_suffix_groups` is as in `ImageTextModel.features`."""
        outputs: Outputs = self.model(batch, num_suffix_groups)
        return outputs

    @torch.no_grad()
    def update(self, trained: ImageTextModel) -> None:
        """Move the copy's weights towards the trained ones; buffers are copied."""
        for slow, fast in zip(self.model.parameters(), trained.parameters(), strict=True):
            slow.lerp_(fast, 1 - self.momentum)
        for buffer, value in zip(self.model.buffers(), trained.buffers(), strict=True):
            buffer.copy_(value)


def build_momentum_encoder(model: ImageTextModel, momentum: float) -> MomentumEncoder:
    """Return a momentum encoder whose weights equal the model's."""
    return MomentumEncoder(copy.deepcopy(model).eval().requires_grad_(False), momentum)
