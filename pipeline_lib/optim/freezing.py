"""Which layer groups of a tower are trained, and from which epoch on.

One rule a tower says which groups are open at the start, a schedule opens more of them later. The answer is one number
a group, the epoch it opens, and setting an epoch sets every group both ways, so nothing of an earlier call is left.
Frozen batch norms keep their running statistics: a "frozen" tower whose statistics still move is another tower. And
frozen layers that nothing open stands before draw no dropout: they are the same in every step, and can be stored.
"""

from collections.abc import Sequence

from torch import nn

from pipeline_lib.batch import LayerGroup
from pipeline_lib.params.train import Depth, TowerFreezing, TrainParams

UnfreezeEpochs = list[int | None]


def open_groups(count: int, depth: Depth) -> list[bool]:
    """Return for each of `count` groups, stem first, whether the last `depth` groups include it.

    >>> open_groups(3, 2)
    [False, True, True]
    """
    last = count if depth == "all" else min(depth, count)
    return [position >= count - last for position in range(count)]


def first_groups_closed(count: int, first: int) -> list[bool]:
    """Return for each of `count` groups whether it is open when the stem and the `first` layers behind it are not.

    >>> first_groups_closed(4, 2), first_groups_closed(4, 0)
    ([False, False, False, True], [True, True, True, True])
    """
    return [first == 0 or position > first for position in range(count)]


def unfreeze_epochs(count: int, tower: str, train: TrainParams) -> UnfreezeEpochs:
    """Return for each of a tower's `count` groups, stem first, the epoch from which it is trained; None is never.

    ValueError for a step of the schedule that is never reached or opens nothing new.
    """
    rule: TowerFreezing = getattr(train.towers, tower)
    depth = train.unfreeze_layers if rule.unfreeze_layers is None else rule.unfreeze_layers
    start = open_groups(count, depth) if rule.freeze_first is None else first_groups_closed(count, rule.freeze_first)
    found: UnfreezeEpochs = [0 if is_open else None for is_open in start]
    found[0] = {"follow": found[0], "open": 0, "frozen": None}[rule.embeddings]
    steps = [step for step in train.schedule if step.tower == tower]
    for step in sorted(steps, key=lambda step: step.epoch):
        told = f"train.schedule: {tower} at epoch {step.epoch}, {step.layers} layers"
        if step.epoch >= train.epochs:
            raise ValueError(
                f"{told}: never reached, the last of train.epochs = {train.epochs} is {train.epochs - 1}; lower the "
                "epoch, train longer, or take the step out"
            )
        held = 0 if rule.embeddings == "frozen" else None
        new = [
            position
            for position, is_open in enumerate(open_groups(count, step.layers))
            if is_open and found[position] is None and position != held
        ]
        if not new:
            raise ValueError(f"{told}: opens nothing that is not open by then; a step can only open more")
        for position in new:
            found[position] = step.epoch
    return found


def set_epoch(tower: nn.Module, groups: Sequence[LayerGroup], opened: UnfreezeEpochs, epoch: int) -> None:
    """Train the groups that are open at `epoch`, and freeze all others."""
    parameters = dict(tower.named_parameters())
    for group, first in zip(groups, opened, strict=True):
        for name in group.parameters:
            parameters[name].requires_grad_(first is not None and epoch >= first)


def set_frozen_eval(tower: nn.Module, prefix: Sequence[nn.Module] = (), hold_norms: bool = False) -> None:
    """Put what is frozen into evaluation mode; call it after `model.train()`.

    What runs before the first open layer group, `prefix`, runs as at prediction, without dropout and dropped paths, so
    that what is stored of it is what it computes; so does a tower without any trainable parameter. Behind that group,
    frozen batch norms alone are held still, or with `hold_norms` all: their weights train alone.
    """
    if not any(parameter.requires_grad for parameter in tower.parameters()):
        tower.eval()
    for module in prefix:
        module.eval()
    for module in tower.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (
            hold_norms or not any(parameter.requires_grad for parameter in module.parameters(recurse=False))
        ):
            module.eval()
