"""A moving average of the weights, measured and kept in their place (Polyak; Tarvainen 2017, arXiv:1703.01780).

The average starts as the weights training begins with. Only what is trained is averaged; buffers, such as running
statistics, stay those of the model.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class WeightEma:
    """Averages of some parameters, decayed once a step: average = decay * average + (1 - decay) * value."""

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self.decay = decay
        self._parameters = list(parameters)
        self._averages = [value.detach().clone() for value in parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take one step's weights in."""
        torch._foreach_lerp_(self._averages, [value.detach() for value in self._parameters], 1 - self.decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Have the model hold the averages for a while."""
        kept = [value.detach().clone() for value in self._parameters]
        self._copy(self._averages)
        try:
            yield
        finally:
            self._copy(kept)

    def state(self) -> list[Tensor]:
        """Return what a checkpoint must hold."""
        return self._averages

    def restore(self, state: Sequence[Tensor]) -> None:
        """Take back what a checkpoint held."""
        for own, value in zip(self._averages, state, strict=True):
            own.copy_(value)

    @torch.no_grad()
    def _copy(self, values: Sequence[Tensor]) -> None:
        for own, value in zip(self._parameters, values, strict=True):
            own.copy_(value)
