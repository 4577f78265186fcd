"""Base class of losses with state: modules whose parameters are trained and whose state is checkpointed."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from pipeline_lib.batch import Batch, Outputs


class StatefulLoss(nn.Module, ABC):
    """A loss with parameters or a memory; the task trains and saves it, and sets its epoch and its mode.

    In evaluation mode (`self.training` is False) it must not change its state.
    """

    def begin_epoch(self, epoch: int) -> None:
        """Start an epoch, counted from 0; called again with the same epoch when a run is resumed."""

    @abstractmethod
    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
