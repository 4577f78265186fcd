"""Learning-rate schedules, as a factor on the base lr of each optimizer group, so that groups keep their ratios."""

import math
from collections.abc import Callable

from torch.optim import Optimizer

from pipeline_lib.params.train import ScheduleKind, TrainParams


def cosine(done: float) -> float:
    """Return half a period of a cosine, from 1 to 0."""
    return 0.5 * (1 + math.cos(math.pi * done))


def linear(done: float) -> float:
    """Return a straight line from 1 to 0."""
    return 1.0 - done


def constant(done: float) -> float:
    """Return 1."""
    return 1.0


# Name -> function(share of the steps after the warm-up that are done, 0 to below 1) -> factor.
SCHEDULES: dict[ScheduleKind, Callable[[float], float]] = {"cosine": cosine, "linear": linear, "constant": constant}


def lr_factor(step: int, total: int, warmup: int, kind: ScheduleKind = "cosine") -> float:
    """Return the factor at a step, counted from 0: linear warm-up over `warmup` steps, then the schedule.

    >>> [round(lr_factor(step, 6, 2), 3) for step in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    >>> [round(lr_factor(step, 4, 0, "linear"), 3) for step in range(4)]
    [1.0, 0.75, 0.5, 0.25]
    """
    if step < warmup:
        return (step + 1) / warmup
    return SCHEDULES[kind]((step - warmup) / max(1, total - warmup))


def warmup_steps(train: TrainParams, total: int) -> int:
    """Return the number of warm-up steps; ValueError if a run of `total` steps ends before the warm-up does."""
    if train.warmup_steps is None:
        return round(train.warmup_fraction * total)
    if train.warmup_steps >= total:
        raise ValueError(
            f"train.warmup_steps = {train.warmup_steps}, but the run has only {total} steps, so the warm-up would "
            "never end; lower it, train longer, or set it to null and train.warmup_fraction to a share"
        )
    return train.warmup_steps


def set_lr(optimizer: Optimizer, factor: float) -> None:
    """Set each group's lr to its `base_lr` times the factor."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
