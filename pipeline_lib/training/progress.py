"""The progress of a run: its epoch, the best one so far, and losses read off the device several steps at a time."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipeline_lib.training.history import Row

# Section of params.yaml -> what to change in it if a loss is not finite.
WAYS_OUT = {
    "train": "lower train.tower_lr and train.head_lr, or set train.precision = fp32",
    "composed": "lower composed.lr, or set composed.precision = fp32",
}


@dataclass
class TrainState:
    """The progress of a run: the next epoch, the best value so far and its epoch, and the rows of the history."""

    epoch: int = 0
    best: float | None = None
    best_epoch: int = -1
    rows: list[Row] = field(default_factory=list)

    def compare(self, epoch: int, value: float, more_is_better: bool = True) -> bool:
        """Record an epoch's value if no earlier one is better; return whether the epoch's weights are to be saved.

        A value that is not finite is compared with none; until an epoch has one that is, the last weights are saved.
        """
        if math.isfinite(value) and (self.best is None or (value > self.best if more_is_better else value < self.best)):
            self.best, self.best_epoch = value, epoch
        return epoch == self.best_epoch or self.best is None


def read_losses(
    unread: list[dict[str, Tensor]], sums: dict[str, float], epoch: int, first: int, section: str = "train"
) -> dict[str, float]:
    """Copy the losses of some steps off the device at once, add them to `sums`, and return those of the last step.

    Raises ValueError for the first step whose loss is not finite, with the values of all losses; `first` is the number
    of the first step, `section` the one of params.yaml whose settings help.
    """
    names = list(unread[0])
    values = torch.stack([torch.stack([terms[name].float() for name in names]) for terms in unread]).cpu()
    broken = (~values.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if broken:
        terms = ", ".join(f"{name} {value:g}" for name, value in zip(names, values[broken[0]].tolist(), strict=True))
        raise ValueError(
            f"a loss is not finite at epoch {epoch}, batch {first + broken[0]}: {terms}; {WAYS_OUT[section]}"
        )
    for name, value in zip(names, values.double().sum(dim=0).tolist(), strict=True):
        sums[name] = sums.get(name, 0.0) + value
    return dict(zip(names, values[-1].tolist(), strict=True))
