"""What a loss is when it learns or remembers: a module whose parameters are trained and whose state is saved."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from pipeline_lib.batch import Batch, Outputs


class StatefulLoss(nn.Module, ABC):
    """A loss with parameters or a memory; the task trains them, saves them, and tells it epoch and mode.

    Outside training (`self.training` is False) it must not change its state.
    """

    def begin_epoch(self, epoch: int) -> None:
        """Hear that an epoch, counted from 0, begins; called again with the same epoch after a resume."""

    @abstractmethod
    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
