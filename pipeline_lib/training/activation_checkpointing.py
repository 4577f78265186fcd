"""Activation checkpointing: the forward pass keeps each block's input alone, the backward pass runs the block again.

Chen et al. 2016 (arXiv:1604.06174): memory of one block in place of all, for one more forward pass. The libraries
checkpoint their own blocks and repeat the random numbers; what they leave undone are batch norms, whose running
statistics a block that runs twice would move twice.
"""

from functools import partial
from typing import Any

import torch
from torch import nn

from pipeline_lib.models.register_memory import RegisterMemory
from pipeline_lib.models.towers import Tower


def checkpoint_tower(name: str, tower: Tower) -> None:
    """Checkpoint the blocks of a tower; ValueError where its architecture does not know how."""
    if not tower.checkpoint_activations():
        raise ValueError(
            f"train.grad_checkpointing.{name} = true: the {name} tower's architecture has no blocks that its library "
            f"checkpoints; set train.grad_checkpointing.{name} = false"
        )
    for module in tower.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(_hold_statistics)
            module.register_forward_hook(partial(_release_statistics, module.momentum), always_call=True)
        elif isinstance(module, RegisterMemory):
            module.keeps_mask = True


def _hold_statistics(norm: Any, _arguments: Any) -> None:
    # Inside a backward pass, so this block runs for the second time.
    if torch._C._current_graph_task_id() != -1 and norm.training:
        norm.momentum = 0.0
        norm.num_batches_tracked.sub_(1)


def _release_statistics(momentum: float | None, norm: Any, _arguments: Any, _output: Any) -> None:
    norm.momentum = momentum
