"""Adapters put into built towers: each becomes a submodule of the transformer block whose output it changes.

So a tower needs no edit: an adapter's parameters carry its block's name, and fall into the layer group of the block.
Only the shared slots, which belong to no layer, are the model's own.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from pipeline_lib.models.positional_conv import PositionalConv
from pipeline_lib.models.register_memory import RegisterMemory, shared_slots
from pipeline_lib.models.towers import Tower
from pipeline_lib.params.model import ModelParams

MEMORY, CONV = "register_memory", "positional_conv"
# Where the families of towers keep their blocks: timm's ViT, BERT, DistilBERT, GPT-2, open_clip.
BLOCK_LISTS = (".blocks", "encoder.layer", "transformer.layer", ".h", "transformer.resblocks")

Adapters = dict[str, dict[str, int]]


def describe_adapters(params: ModelParams) -> Adapters:
    """Return the adapters that are on, as JSON values; none gives an empty mapping."""
    found: Adapters = {}
    if params.register_memory.slots_private or params.register_memory.slots_shared:
        found[MEMORY] = params.register_memory.model_dump()
    if params.positional_conv.after_block:
        found[CONV] = params.positional_conv.model_dump()
    return found


def attach(towers: Mapping[str, Tower], adapters: Adapters) -> nn.Parameter | None:
    """Put the described adapters into the towers and return the slots that both share, if there are any.

    Raises ValueError for a tower without transformer blocks, or without a grid of patches.
    """
    shared = None
    if memory := adapters.get(MEMORY):
        shared = shared_slots(memory["slots_shared"]) if memory["slots_shared"] else None
        for name, tower in towers.items():
            _remember(name, tower, memory["slots_private"], shared)
    if conv := adapters.get(CONV):
        _convolve(towers["image"], conv["after_block"], conv["stride"])
    return shared


def adapter_state(tower: Tower) -> dict[str, Tensor]:
    """Return the values of the tower's adapters, which no published weights hold."""
    return {name: value for name, value in tower.state_dict().items() if {MEMORY, CONV} & set(name.split("."))}


def frozen_adapters(name: str, tower: Tower, opened: set[str]) -> list[str]:
    """Return warnings for adapters of a tower none of whose parameters is among the `opened` names."""
    found = []
    for kind, state in ((MEMORY, "adds nothing"), (CONV, "untrained")):
        own = {path for path, _ in tower.named_parameters() if kind in path.split(".")}
        if own and not own & opened:
            found.append(f"{name}: model.{kind} stays frozen and {state}; raise train.unfreeze_layers up to its block")
    return found


def transformer_blocks(name: str, tower: Tower, key: str) -> list[nn.Module]:
    """Return the blocks of a tower that passes on token sequences; ValueError names `model.<key>` if it is none."""
    found = [
        module
        for path, module in tower.named_modules()
        if path.endswith(BLOCK_LISTS) and isinstance(module, nn.ModuleList | nn.Sequential)
    ]
    # A convolutional tower has blocks of maps, often in several lists; only a transformer's hold attention.
    blocks = list(found[0]) if len(found) == 1 else []
    if not blocks or not all(any("attn" in path or "attention" in path for path in _paths(block)) for block in blocks):
        raise ValueError(
            f"model.{key}: the {name} tower has no list of transformer blocks (known are a ViT's of timm or open_clip "
            f"and a text tower's); take another model.{name}.name or set model.{key} off"
        )
    return blocks


def _paths(block: nn.Module) -> list[str]:
    return [path.split(".")[0] for path, _ in block.named_modules()]


def _width(block: nn.Module) -> int:
    """Return the width of a block's tokens: that of its first norm."""
    return int(next(module for module in block.modules() if isinstance(module, nn.LayerNorm)).normalized_shape[-1])


def _remember(name: str, tower: Tower, private: int, shared: nn.Parameter | None) -> None:
    for block in transformer_blocks(name, tower, MEMORY):
        memory = RegisterMemory(_width(block), private, shared)
        block.add_module(MEMORY, memory)
        # Bound methods, not closures: a copied model then calls its own copies.
        block.register_forward_hook(memory.after_block)
        if name == "text":
            tower.register_forward_pre_hook(memory.see_mask)
            tower.register_forward_hook(memory.forget_mask, always_call=True)


def _convolve(tower: Tower, after_block: int, stride: int) -> None:
    found = [grid for module in tower.modules() if (grid := _grid_of(module)) is not None]
    if not found:
        kind = type(next(iter(tower.children()), tower)).__name__
        raise ValueError(
            f"model.{CONV}: the image tower ({kind}) has no grid of patch tokens; take a ViT or set "
            f"model.{CONV}.after_block = 0"
        )
    blocks, patches, num_prefix = found[0]
    if after_block > len(blocks):
        raise ValueError(f"model.{CONV}.after_block = {after_block}, but the image tower has {len(blocks)} blocks")
    block = blocks[after_block - 1]
    conv = PositionalConv(_width(block), stride, num_prefix)
    block.add_module(CONV, conv)
    block.register_forward_hook(conv.after_block)
    patches.register_forward_hook(conv.see_grid)


def _grid_of(module: Any) -> tuple[Any, nn.Module, int] | None:
    """Return a ViT's blocks, the convolution that cuts its patches, and the number of tokens before these."""
    # Told by what they have, so that neither library, each seconds to import, is loaded for a tower of the other.
    if hasattr(module, "num_prefix_tokens") and hasattr(getattr(module, "patch_embed", None), "proj"):
        return module.blocks, module.patch_embed.proj, module.num_prefix_tokens  # timm
    if hasattr(module, "conv1") and hasattr(getattr(module, "transformer", None), "resblocks"):
        return module.transformer.resblocks, module.conv1, 1  # open_clip
    return None
