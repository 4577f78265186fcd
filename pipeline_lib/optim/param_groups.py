"""Optimizer groups: one lr for each layer group, and no weight decay for tensors of one dimension or none.

Norms, biases and the logit scale have at most one dimension; decaying them only hurts (FIELD practice since ViT/CLIP).
"""

from typing import Any

from torch import nn
from torch.optim import AdamW


def split_decay(
    named: list[tuple[str, nn.Parameter]], lr: float, weight_decay: float, name: str
) -> list[dict[str, Any]]:
    """Return AdamW groups of the trainable parameters, matrices with decay and the rest without."""
    trainable = [value for _, value in named if value.requires_grad]
    matrices = [value for value in trainable if value.ndim > 1]
    others = [value for value in trainable if value.ndim <= 1]
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
