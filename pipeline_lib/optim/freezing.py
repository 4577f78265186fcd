"""Which layer groups of a tower are trained, and from which epoch on.

Each tower has a rule for the groups that are trained from the start; a schedule unfreezes more of them later. The
result is one number a group, its first epoch of training. `set_epoch` freezes and unfreezes every group, so no earlier
call matters. Frozen batch norms use and keep their running statistics. The frozen layers before the first trainable
group run without dropout: their outputs are the same in every step, so they can be stored.
"""

from collections.abc import Sequence

from torch import nn

from pipeline_lib.batch import LayerGroup
from pipeline_lib.params.train import Depth, TowerFreezing, TrainParams

# First epoch in which each layer group of a tower is trained, stem first; None for a group that never is.
UnfreezeEpochs = list[int | None]


def open_groups(count: int, depth: Depth) -> list[bool]:
    """Return for each of `count` groups, stem first, whether it is one of the last `depth` groups.

    >>> open_groups(3, 2)
    [False, True, True]
    """
    last = count if depth == "all" else min(depth, count)
    return [position >= count - last for position in range(count)]


def open_after_first(count: int, first: int) -> list[bool]:
    """Return for each of `count` groups whether it is open if the stem and the `first` layers after it are frozen.

    >>> open_after_first(4, 2), open_after_first(4, 0)
    ([False, False, False, True], [True, True, True, True])
    """
    return [first == 0 or position > first for position in range(count)]


def unfreeze_epochs(count: int, tower: str, train: TrainParams) -> UnfreezeEpochs:
    """Return the first epoch in which each of a tower's `count` groups is trained, stem first; None for never.

    ValueError for a step of the schedule that is never reached or unfreezes no further group.
    """
    rule: TowerFreezing = getattr(train.towers, tower)
    depth = train.unfreeze_layers if rule.unfreeze_layers is None else rule.unfreeze_layers
    start = open_groups(count, depth) if rule.freeze_first is None else open_after_first(count, rule.freeze_first)
    epochs: UnfreezeEpochs = [0 if is_open else None for is_open in start]
    epochs[0] = {"follow": epochs[0], "open": 0, "frozen": None}[rule.embeddings]
    steps = [step for step in train.schedule if step.tower == tower]
    for step in sorted(steps, key=lambda step: step.epoch):
        where = f"train.schedule: {tower} at epoch {step.epoch}, {step.layers} layers"
        if step.epoch >= train.epochs:
            raise ValueError(
                f"{where}: never reached, the last epoch of train.epochs = {train.epochs} is {train.epochs - 1}; lower "
                "the epoch, train longer, or remove the step"
            )
        always_frozen = 0 if rule.embeddings == "frozen" else None
        new = [
            position
            for position, is_open in enumerate(open_groups(count, step.layers))
            if is_open and epochs[position] is None and position != always_frozen
        ]
        if not new:
            raise ValueError(f"{where}: all these groups are already trained by then; a step must unfreeze more groups")
        for position in new:
            epochs[position] = step.epoch
    return epochs


def set_epoch(tower: nn.Module, groups: Sequence[LayerGroup], unfreeze: UnfreezeEpochs, epoch: int) -> None:
    """Unfreeze the groups that are trained in `epoch` and freeze all others."""
    parameters = dict(tower.named_parameters())
    for group, first in zip(groups, unfreeze, strict=True):
        for name in group.parameters:
            parameters[name].requires_grad_(first is not None and epoch >= first)


def set_frozen_eval(tower: nn.Module, prefix: Sequence[nn.Module] = (), freeze_statistics: bool = False) -> None:
    """Put the frozen modules of a tower into evaluation mode; call it after `model.train()`.

    `prefix`, the modules before the first trainable layer group, run without dropout and stochastic depth, so that
    their outputs equal the stored ones. The same holds for a tower without trainable parameters. After that group only
    frozen batch norms are in evaluation mode, or all of them with `freeze_statistics`; their weights are still trained.
    """
    if not any(parameter.requires_grad for parameter in tower.parameters()):
        tower.eval()
    for module in prefix:
        module.eval()
    for module in tower.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (
            freeze_statistics or not any(parameter.requires_grad for parameter in module.parameters(recurse=False))
        ):
            module.eval()
