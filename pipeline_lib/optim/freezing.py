"""Which layer groups of a tower are trained.

Setting a depth sets every group both ways, so no earlier call leaves anything behind, and frozen batch norms keep
their running statistics: a "frozen" tower whose statistics still move is not the tower that was evaluated.
"""

from typing import Literal

from torch import nn

from pipeline_lib.records import LayerGroup

Depth = int | Literal["all"]


def open_groups(groups: list[LayerGroup], depth: Depth) -> list[bool]:
    """Return for each group, stem first, whether the last `depth` groups include it.

    >>> open_groups([LayerGroup(name, ()) for name in "abc"], 2)
    [False, True, True]
    """
    count = len(groups) if depth == "all" else min(depth, len(groups))
    return [position >= len(groups) - count for position in range(len(groups))]


def unfreeze_last(tower: nn.Module, groups: list[LayerGroup], depth: Depth) -> None:
    """Train the last `depth` groups of a tower and freeze all others."""
    parameters = dict(tower.named_parameters())
    for group, is_open in zip(groups, open_groups(groups, depth), strict=True):
        for name in group.parameters:
            parameters[name].requires_grad_(is_open)


def settle_frozen(tower: nn.Module) -> None:
    """Put what is frozen into evaluation mode; call it after `model.train()`.

    A tower without any trainable parameter runs as at prediction, dropout included, so that its stored features are
    the same as those it computes; in a tower that is partly open, frozen batch norms alone are held still.
    """
    if not any(parameter.requires_grad for parameter in tower.parameters()):
        tower.eval()
    for module in tower.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not any(
            parameter.requires_grad for parameter in module.parameters(recurse=False)
        ):
            module.eval()
