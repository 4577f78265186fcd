"""Activation checkpointing: the forward pass stores only the input of each block, the backward pass reruns the block.

Chen et al. 2016 (arXiv:1604.06174). It needs the memory of one block instead of all, and one more forward pass. The
libraries checkpoint their own blocks and restore the random numbers. They do not handle batch norms, whose running
statistics a rerun block would update twice.
"""

from functools import partial
from typing import Any

import torch
from torch import nn

from pipeline_lib.models.register_memory import RegisterMemory
from pipeline_lib.towers.tower import Tower


def checkpoint_tower(name: str, tower: Tower) -> None:
    """Checkpoint the blocks of a tower; ValueError if its architecture does not support it."""
    if not tower.checkpoint_activations():
        raise ValueError(
            f"train.grad_checkpointing.{name} = true: the library of the {name} tower does not support activation "
            f"checkpointing for its architecture; set train.grad_checkpointing.{name} = false"
        )
    for module in tower.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(_hold_statistics)
            module.register_forward_hook(partial(_release_statistics, module.momentum), always_call=True)
        elif isinstance(module, RegisterMemory):
            module.keeps_mask = True


def _hold_statistics(norm: Any, _arguments: Any) -> None:
    # Inside a backward pass, so the block is being rerun.
    if torch._C._current_graph_task_id() != -1 and norm.training:
        norm.momentum = 0.0
        norm.num_batches_tracked.sub_(1)


def _release_statistics(momentum: float | None, norm: Any, _arguments: Any, _output: Any) -> None:
    norm.momentum = momentum
