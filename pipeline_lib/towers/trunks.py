"""What every timm trunk needs before it is trained here, and its layer groups: for timm's and open_clip's towers.

Several architectures keep values that they computed from their weights in evaluation mode (LeViT's attention biases)
until the next call of `train()`. Weights change without one: in the momentum encoder, under averaged weights, when the
best checkpoint is restored. So nothing computed from weights is reused in the next forward pass.
"""

from typing import Any

import torch
from timm.layers.format import Format
from timm.models import group_parameters
from timm.models.fastvit import FastVit
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from pipeline_lib.batch import LayerGroup

# Classes whose training step in channels-last format ended the process on CPU (timm 1.0.31, torch 2.15.0).
PLAIN_FORMAT: tuple[type[nn.Module], ...] = (FastVit,)
# timm's attributes of values computed from weights in evaluation mode.
CACHES = ("attention_bias_cache",)


def free_size(trunk: Any) -> None:
    """Make a timm ViT resize its position embeddings to the image, as `dynamic_img_size` does.

    Its parameters, and its outputs at its own size, do not change. A ViT whose own size is no multiple of its patch
    (384 of 14) crops the rest, and keeps to this size.
    """
    if isinstance(trunk, VisionTransformer) and not trunk.dynamic_img_size and _whole_patches(trunk.patch_embed):
        # Declared final for TorchScript only, which is not used here.
        setattr(trunk, "dynamic_img_size", True)  # noqa: B010
        trunk.patch_embed.strict_img_size = False
        trunk.patch_embed.flatten = False
        trunk.patch_embed.output_fmt = Format.NHWC


def _whole_patches(patch_embed: Any) -> bool:
    return all(side % patch == 0 for side, patch in zip(patch_embed.img_size, patch_embed.patch_size, strict=True))


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


def trunk_groups(trunk: Any, prefix: str) -> list[LayerGroup]:
    """Return a timm model's fine groups, stem first, with parameter names starting with `prefix`.

    An architecture without timm's groups gets one for each block, by the numbers in its parameters' names.
    """
    named: dict[int, list[str]]
    if hasattr(trunk, "group_matcher"):
        named = group_parameters(trunk, trunk.group_matcher(coarse=False))
    else:
        named = numbered_blocks([name for name, _ in trunk.named_parameters()])
    return [
        LayerGroup(_common_name(named[number]), tuple(f"{prefix}.{name}" for name in named[number]))
        for number in sorted(named)
    ]


def numbered_blocks(names: list[str]) -> dict[int, list[str]]:
    """Return parameters by block, in their order: a block is a path of up to two levels of numbered modules.

    Parameters of the model itself, such as position embeddings, belong to the first block.

    >>> numbered_blocks(["pos", "stem.w", "stages.0.down.w", "stages.0.blocks.0.w", "stages.0.blocks.0.mlp.1.w"])
    {0: ['pos', 'stem.w'], 1: ['stages.0.down.w'], 2: ['stages.0.blocks.0.w', 'stages.0.blocks.0.mlp.1.w']}
    """
    own = [name for name in names if "." not in name]
    blocks: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        if "." in name:
            blocks.setdefault(_block_path(name.split(".")[:-1]), []).append(name)
    first, *others = blocks.values() or ([],)
    return dict(enumerate([own + first, *others]))


def _block_path(path: list[str]) -> tuple[str, ...]:
    """Return stages.0.blocks.1 or stages.0.1, but stages.0.downsample for what has no second number there."""
    numbers = [place for place, part in enumerate(path) if part.isdigit()]
    if not numbers or numbers[0] > 1:
        return tuple(path[:1])
    if len(numbers) > 1 and numbers[1] <= numbers[0] + 2:
        return tuple(path[: numbers[1] + 1])
    return tuple(path[: numbers[0] + 2])


def checkpoint_trunk(trunk: Any) -> bool:
    """Turn on timm's activation checkpointing; return False if the architecture does not support it."""
    try:
        trunk.set_grad_checkpointing(True)
    except (AssertionError, AttributeError):  # how timm reports that it is not supported
        return False
    return True


def _common_name(names: list[str]) -> str:
    """Return the common path of parameters: stages.2.blocks.0.gamma, stages.2.blocks.0.norm.bias -> ...blocks.0."""
    parts = [name.split(".")[:-1] for name in names]
    common = [column[0] for column in zip(*parts, strict=False) if len(set(column)) == 1]
    return ".".join(common) or names[0].split(".")[0]
