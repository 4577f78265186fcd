"""Forward passes of timm models as blocks, family by family, so that a pass can be split before any layer group.

The `forward` of each family here is a sequence of timm's modules; only their order is written here. A model of another
class, subclasses included because their `forward` may differ, is one block: correct, but it cannot be split.
"""

from collections.abc import Callable, Iterator
from typing import Any

from timm.models.convnext import ConvNeXt
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from timm.models.resnet import ResNet
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from pipeline_lib.towers.tower import ForwardBlock


def timm_blocks(trunk: Any, prefix: str) -> list[ForwardBlock]:
    """Return the blocks of a timm model from normalised pixels to its output, their paths starting with `prefix`."""
    family = FAMILIES.get(type(trunk))
    if family is None:
        return [ForwardBlock((prefix,), trunk)]
    blocks = list(family(trunk))
    before_head = {path.split(".")[0] for block in blocks for path in block.paths}
    names = [name for name, _ in [*trunk.named_children(), *trunk.named_parameters(recurse=False)]]
    blocks.append(ForwardBlock(tuple(name for name in names if name not in before_head), trunk.forward_head))
    return [ForwardBlock(tuple(f"{prefix}.{path}" for path in block.paths), block.run) for block in blocks]


def _modules(trunk: nn.Module, *paths: str) -> Iterator[ForwardBlock]:
    """Yield a block for each module; a Sequential of blocks or layers yields its members, recursively."""
    for path in paths:
        module = trunk.get_submodule(path)
        if type(module) is nn.Sequential and path.startswith(("blocks", "layer")):
            yield from _modules(trunk, *(f"{path}.{name}" for name, _ in module.named_children()))
        else:
            yield ForwardBlock((path,), module)


def _convnext(trunk: Any) -> Iterator[ForwardBlock]:
    yield from _modules(trunk, "stem")
    for number, stage in enumerate(trunk.stages):
        blocks = [f"stages.{number}.blocks.{name}" for name, _ in stage.blocks.named_children()]
        yield from _modules(trunk, f"stages.{number}.downsample", *blocks)
    yield from _modules(trunk, "norm_pre")


def _vit(trunk: Any) -> Iterator[ForwardBlock]:
    def embed(pixels: Tensor) -> Tensor:
        embedded: Tensor = trunk.norm_pre(trunk.patch_drop(trunk._pos_embed(trunk.patch_embed(pixels))))
        return embedded

    stem = ("patch_embed", "cls_token", "reg_token", "pos_embed", "pos_drop", "patch_drop", "norm_pre")
    yield ForwardBlock(stem, embed)
    yield from _modules(trunk, "blocks", "norm")


def _resnet(trunk: Any) -> Iterator[ForwardBlock]:
    yield from _modules(trunk, "conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4")


def _efficientnet(trunk: Any) -> Iterator[ForwardBlock]:
    yield from _modules(trunk, "conv_stem", "bn1", "blocks", "conv_head", "bn2")


def _mobilenetv3(trunk: Any) -> Iterator[ForwardBlock]:
    yield from _modules(trunk, "conv_stem", "bn1", "blocks")


# Class of a model -> function(model) -> its blocks in order, without the head's.
FAMILIES: dict[type[nn.Module], Callable[[Any], Iterator[ForwardBlock]]] = {
    ConvNeXt: _convnext,
    VisionTransformer: _vit,
    ResNet: _resnet,
    EfficientNet: _efficientnet,
    MobileNetV3: _mobilenetv3,
}
