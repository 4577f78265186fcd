"""What every timm trunk needs before it is trained here, for towers of timm and for open_clip's timm trunks.

Several architectures keep values that they computed from their weights in evaluation mode (LeViT's attention biases)
until the next call of `train()`. Weights change without one: in the momentum encoder, under averaged weights, when the
best checkpoint is restored. So nothing computed from weights is kept between two forward passes.
"""

from typing import Any

import torch
from timm.models.fastvit import FastVit
from torch import nn

# Classes whose training step in channels-last format ended the process on CPU (timm 1.0.31, torch 2.15.0).
PLAIN_FORMAT: tuple[type[nn.Module], ...] = (FastVit,)
# timm's attributes of values computed from weights in evaluation mode.
CACHES = ("attention_bias_cache",)


def memory_format(trunk: nn.Module) -> torch.memory_format:
    """Return the memory format that a trunk and its images have in training."""
    return torch.contiguous_format if isinstance(trunk, PLAIN_FORMAT) else torch.channels_last


def set_memory_format(module: nn.Module, wanted: torch.memory_format) -> None:
    """Convert the tensors of four dimensions, such as kernels, to a memory format; the others have no such format."""
    for value in (*module.parameters(), *module.buffers()):
        if value.ndim == 4:
            value.data = value.data.to(memory_format=wanted)


def drop_caches(module: nn.Module) -> None:
    """Let each part of a module forget, before each forward pass, what it computed from its weights in the last."""
    for part in module.modules():
        if any(hasattr(part, name) for name in CACHES):
            part.register_forward_pre_hook(_forget)


def _forget(part: Any, _arguments: Any) -> None:
    for name in CACHES:
        if getattr(part, name, None):
            setattr(part, name, {})
