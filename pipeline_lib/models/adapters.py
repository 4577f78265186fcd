"""Adapters for built towers: each becomes a submodule of the transformer block whose output it changes.

The code of the towers does not change. The names of an adapter's parameters start with its block's name, so they are in
the layer group of the block. Only the shared slots belong to the model, because they are in no layer.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from pipeline_lib.models.positional_conv import PositionalConv
from pipeline_lib.models.register_memory import RegisterMemory, shared_slots
from pipeline_lib.params.model import ModelParams
from pipeline_lib.towers.tower import Tower

MEMORY, CONV = "register_memory", "positional_conv"
# Ends of the paths of the block lists: timm's ViT, BERT, DistilBERT, GPT-2, open_clip.
BLOCK_LISTS = (".blocks", "encoder.layer", "transformer.layer", ".h", "transformer.resblocks")

Adapters = dict[str, dict[str, int]]


def describe_adapters(params: ModelParams) -> Adapters:
    """Return the adapters that are on, by name, as JSON values."""
    adapters: Adapters = {}
    if params.register_memory.slots_private or params.register_memory.slots_shared:
        adapters[MEMORY] = params.register_memory.model_dump()
    if params.positional_conv.after_block:
        adapters[CONV] = params.positional_conv.model_dump()
    return adapters


def attach(towers: Mapping[str, Tower], adapters: Adapters) -> nn.Parameter | None:
    """Add the adapters to the towers and return the slots that both towers share, if any.

    ValueError for a tower without transformer blocks, or without a grid of patches.
    """
    shared = None
    if memory := adapters.get(MEMORY):
        shared = shared_slots(memory["slots_shared"]) if memory["slots_shared"] else None
        for name, tower in towers.items():
            _attach_memory(name, tower, memory["slots_private"], shared)
    if conv := adapters.get(CONV):
        _attach_conv(towers["image"], conv["after_block"], conv["stride"])
    return shared


def adapter_state(tower: Tower) -> dict[str, Tensor]:
    """Return the weights of the tower's adapters, which are in no published weights."""
    return {name: value for name, value in tower.state_dict().items() if {MEMORY, CONV} & set(name.split("."))}


def frozen_adapters(name: str, tower: Tower, trained: set[str]) -> list[str]:
    """Return warnings for adapters of a tower that have no parameter among the `trained` names."""
    warnings = []
    for kind, state in ((MEMORY, "has no effect"), (CONV, "untrained")):
        own = {path for path, _ in tower.named_parameters() if kind in path.split(".")}
        if own and not own & trained:
            warnings.append(
                f"{name}: model.{kind} stays frozen and {state}; raise train.unfreeze_layers up to its block"
            )
    return warnings


def transformer_blocks(name: str, tower: Tower, key: str) -> list[nn.Module]:
    """Return the blocks of a transformer tower; ValueError that names `model.<key>` for any other tower."""
    lists = [
        module
        for path, module in tower.named_modules()
        if path.endswith(BLOCK_LISTS) and isinstance(module, nn.ModuleList | nn.Sequential)
    ]
    # A convolutional tower may have such lists too, often several; only a transformer's blocks contain attention.
    blocks = list(lists[0]) if len(lists) == 1 else []
    if not blocks or not all(any("attn" in path or "attention" in path for path in _paths(block)) for block in blocks):
        raise ValueError(
            f"model.{key}: the {name} tower has no list of transformer blocks (supported: text towers, and ViTs of "
            f"timm and open_clip); use another model.{name}.name or turn model.{key} off"
        )
    return blocks


def _paths(block: nn.Module) -> list[str]:
    return [path.split(".")[0] for path, _ in block.named_modules()]


def _width(block: nn.Module) -> int:
    """Return the width of a block's tokens, which is that of its first norm."""
    return int(next(module for module in block.modules() if isinstance(module, nn.LayerNorm)).normalized_shape[-1])


def _attach_memory(name: str, tower: Tower, private: int, shared: nn.Parameter | None) -> None:
    for block in transformer_blocks(name, tower, MEMORY):
        memory = RegisterMemory(_width(block), private, shared)
        block.add_module(MEMORY, memory)
        # Bound methods, not closures, so that a deep copy of the model calls its own modules.
        block.register_forward_hook(memory.after_block)
        if name == "text":
            tower.register_forward_pre_hook(memory.set_mask)
            tower.register_forward_hook(memory.clear_mask, always_call=True)


def _attach_conv(tower: Tower, after_block: int, stride: int) -> None:
    grids = [grid for module in tower.modules() if (grid := _grid_of(module)) is not None]
    if not grids:
        kind = type(next(iter(tower.children()), tower)).__name__
        raise ValueError(
            f"model.{CONV}: the image tower ({kind}) has no grid of patch tokens; use a ViT or set "
            f"model.{CONV}.after_block = 0"
        )
    blocks, patches, num_prefix = grids[0]
    if after_block > len(blocks):
        raise ValueError(f"model.{CONV}.after_block = {after_block}, but the image tower has {len(blocks)} blocks")
    block = blocks[after_block - 1]
    conv = PositionalConv(_width(block), stride, num_prefix)
    block.add_module(CONV, conv)
    block.register_forward_hook(conv.after_block)
    patches.register_forward_hook(conv.set_grid)


def _grid_of(module: Any) -> tuple[Any, nn.Module, int] | None:
    """Return a ViT's blocks, its patch embedding's convolution, and its number of prefix tokens; None for no ViT."""
    # By attributes, not by class, so that no library is imported for a tower of the other; each takes seconds.
    if hasattr(module, "num_prefix_tokens") and hasattr(getattr(module, "patch_embed", None), "proj"):
        return module.blocks, module.patch_embed.proj, module.num_prefix_tokens  # timm
    if hasattr(module, "conv1") and hasattr(getattr(module, "transformer", None), "resblocks"):
        return module.transformer.resblocks, module.conv1, 1  # open_clip
    return None
