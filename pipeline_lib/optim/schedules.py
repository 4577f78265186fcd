"""Learning rate over a run, as a factor on every group's own base lr, so that groups keep their ratios."""

import math

from torch.optim import Optimizer


def warmup_cosine(step: int, total: int, warmup: int) -> float:
    """Return the factor at a step counted from 0: a linear rise over `warmup` steps, then a cosine to zero.

    >>> [round(warmup_cosine(step, 6, 2), 3) for step in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def set_lr(optimizer: Optimizer, factor: float) -> None:
    """Set each group's lr to its `base_lr` times the factor."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
