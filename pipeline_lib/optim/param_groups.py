"""Optimizer groups: an lr for each layer group, and no weight decay for tensors of one dimension or none.

Everything that will ever be trained is in the optimizer from the start: a closed layer has no gradient, and AdamW
passes over it. So a resumed run finds the same groups whatever epoch it goes on from. The scheduler multiplies
`base_lr`, so groups keep their ratios. Norms, biases and the logit scale have at most one dimension; decaying them
only hurts (practice since ViT and CLIP).
"""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim import AdamW

from pipeline_lib.batch import LayerGroup
from pipeline_lib.optim.freezing import UnfreezeEpochs
from pipeline_lib.params.train import TrainParams


def group_lrs(opened: UnfreezeEpochs, train: TrainParams) -> list[float]:
    """Return the highest lr of each layer group, stem first; 0 for one that never opens.

    lr = tower_lr * lr_decay ^ (groups between it and the head) (layer-wise lr decay, arXiv:1801.06146), times
    `unfreeze_lr_scale` for a group that opens after the first epoch.
    """
    last = len(opened) - 1
    return [
        0.0
        if first is None
        else train.tower_lr * train.lr_decay ** (last - position) * (train.unfreeze_lr_scale if first else 1.0)
        for position, first in enumerate(opened)
    ]


def tower_groups(
    tower: nn.Module, groups: Sequence[LayerGroup], opened: UnfreezeEpochs, train: TrainParams, name: str
) -> list[dict[str, Any]]:
    """Return AdamW groups of all that a tower ever trains; layer groups of one lr share theirs."""
    parameters = dict(tower.named_parameters())
    by_lr: dict[float, list[tuple[str, nn.Parameter]]] = {}
    for group, lr, first in zip(groups, group_lrs(opened, train), opened, strict=True):
        if first is not None:
            by_lr.setdefault(lr, []).extend((key, parameters[key]) for key in group.parameters)
    order = {key: number for number, key in enumerate(parameters)}
    made = []
    for number, (lr, named) in enumerate(by_lr.items()):
        # In the tower's own order, whatever order its groups list them in.
        named.sort(key=lambda item: order[item[0]])
        made += split_decay(named, lr, train.weight_decay, name if len(by_lr) == 1 else f"{name}.{number}")
    return made


def split_decay(
    named: list[tuple[str, nn.Parameter]], lr: float, weight_decay: float, name: str
) -> list[dict[str, Any]]:
    """Return AdamW groups of the parameters, matrices with decay and the rest without."""
    matrices = [value for _, value in named if value.ndim > 1]
    others = [value for _, value in named if value.ndim <= 1]
    made = (
        {"params": matrices, "lr": lr, "base_lr": lr, "weight_decay": weight_decay, "name": f"{name}/decay"},
        {"params": others, "lr": lr, "base_lr": lr, "weight_decay": 0.0, "name": f"{name}/no-decay"},
    )
    return [group for group in made if group["params"]]


def build_adamw(groups: list[dict[str, Any]]) -> AdamW:
    """Return a fused AdamW, several times faster than the loop over tensors on CPU and GPU alike."""
    if not groups:
        raise ValueError("nothing is trainable: train.unfreeze_layers = 0 and the model has no head")
    return AdamW(groups, fused=True, betas=(0.9, 0.98), eps=1e-6)
