"""Optimizer groups: one lr for each layer group, and no weight decay for what `weight_decay` leaves out.

The optimizer holds every parameter that is trained in any epoch. A frozen layer has no gradient, so AdamW skips it, and
a run can be resumed in any epoch with the same groups. The schedule multiplies `base_lr`, so the groups keep their
ratios.
"""

from collections.abc import Collection, Sequence
from typing import Any

from torch import nn
from torch.optim import AdamW

from pipeline_lib.batch import LayerGroup
from pipeline_lib.optim.freezing import UnfreezeEpochs
from pipeline_lib.optim.weight_decay import undecayed_names
from pipeline_lib.params.train import TrainParams


def group_lrs(unfreeze: UnfreezeEpochs, train: TrainParams) -> list[float]:
    """Return the highest lr of each layer group, stem first; 0 for a group that is never trained.

    lr = tower_lr * lr_decay ^ (number of groups after it) (layer-wise lr decay, arXiv:1801.06146), times
    `unfreeze_lr_scale` for a group that is unfrozen after the first epoch.
    """
    last = len(unfreeze) - 1
    return [
        0.0
        if first is None
        else train.tower_lr * train.lr_decay ** (last - position) * (train.unfreeze_lr_scale if first else 1.0)
        for position, first in enumerate(unfreeze)
    ]


def tower_groups(
    tower: nn.Module, groups: Sequence[LayerGroup], unfreeze: UnfreezeEpochs, train: TrainParams, name: str
) -> list[dict[str, Any]]:
    """Return AdamW groups of a tower's parameters that are trained in any epoch; layer groups of one lr are joined."""
    parameters = dict(tower.named_parameters())
    by_lr: dict[float, list[tuple[str, nn.Parameter]]] = {}
    for group, lr, first in zip(groups, group_lrs(unfreeze, train), unfreeze, strict=True):
        if first is not None:
            by_lr.setdefault(lr, []).extend((key, parameters[key]) for key in group.parameters)
    order = {key: number for number, key in enumerate(parameters)}
    undecayed = undecayed_names(tower)
    adamw_groups = []
    for number, (lr, named) in enumerate(by_lr.items()):
        # The tower's own order of parameters, independent of the order in its groups.
        named.sort(key=lambda item: order[item[0]])
        title = name if len(by_lr) == 1 else f"{name}.{number}"
        adamw_groups += split_decay(named, lr, train.weight_decay, title, undecayed)
    return adamw_groups


def split_decay(
    named: list[tuple[str, nn.Parameter]], lr: float, weight_decay: float, name: str, undecayed: Collection[str]
) -> list[dict[str, Any]]:
    """Return AdamW groups of the parameters: those named in `undecayed` without weight decay, all others with it."""
    matrices = [value for key, value in named if key not in undecayed]
    others = [value for key, value in named if key in undecayed]
    groups = (
        {"params": matrices, "lr": lr, "base_lr": lr, "weight_decay": weight_decay, "name": f"{name}/decay"},
        {"params": others, "lr": lr, "base_lr": lr, "weight_decay": 0.0, "name": f"{name}/no-decay"},
    )
    return [group for group in groups if group["params"]]


def build_adamw(groups: list[dict[str, Any]]) -> AdamW:
    """Return a fused AdamW, on CPU and GPU several times as fast as the loop over tensors; ValueError if no group."""
    if not groups:
        raise ValueError("nothing is trainable: train.unfreeze_layers = 0 and the model has no head")
    return AdamW(groups, fused=True, betas=(0.9, 0.98), eps=1e-6)
