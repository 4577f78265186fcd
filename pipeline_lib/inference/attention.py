"""Where an image tower looks in a photo: a map over the photo's cells, by the method that fits the tower.

Weights of an attentive pooling and of a class token belong to the photo alone. Grad-CAM explains the similarity with
one text, so its map differs from query to query.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.models.multimodal import ImageTextModel
from pipeline_lib.towers.pooling import AttentivePool
from pipeline_lib.towers.timm_blocks import FAMILIES
from pipeline_lib.towers.tower import ImageTower

AttentionKind = Literal["pooling", "class_token", "grad_cam"]
# Contract: a model, uint8 pixels (photos, 3, side, side), queries (photos, dim) -> weights of the cells (photos, n), or
# (photos, rows, columns), not negative; None if the model has no such attention.
MapsOf = Callable[[ImageTextModel, Tensor, Tensor], Tensor | None]
# A deeper layer of fewer cells a side would say little about where: Grad-CAM reads the deepest one that has them.
MIN_SIDE = 7


@dataclass(frozen=True)
class AttentionMaps:
    """Maps (photos, rows, columns) of shares: each adds up to 1, or to 0 where nothing raises the similarity."""

    kind: AttentionKind
    maps: NDArray[np.float32]


def attention_maps(model: ImageTextModel, pixels: Tensor, queries: Tensor) -> AttentionMaps | None:
    """Return the maps of photos, each for its own query; None for a tower that gives none.

    `pixels` are uint8 (photos, 3, side, side) as `PhotoViews` gives them, `queries` text embeddings (photos, dim). The
    model must be in evaluation mode and have its towers.
    """
    for kind, maps_of in METHODS.items():
        weights = maps_of(model, pixels, queries)
        if weights is not None:
            shares = weights.detach().float().flatten(1)
            side = isqrt(shares.shape[1])
            shape = weights.shape[1:] if weights.ndim == 3 else (side, side)
            sums = shares.sum(dim=1, keepdim=True)
            shares = torch.where(sums > 0, shares / sums.clamp(min=torch.finfo(shares.dtype).tiny), 0.0)
            return AttentionMaps(kind, shares.reshape(len(shares), *shape).cpu().numpy())
    return None


def _pooling(model: ImageTextModel, pixels: Tensor, _queries: Tensor) -> Tensor | None:
    """Return the weights of the attentive pooling of the image tower, or of an early fusion."""
    owner: nn.Module = model.image if model.fusion is None else model.fusion.pools["image"]
    pools = [module for module in owner.modules() if isinstance(module, AttentivePool)]
    return None if not pools else _patches(_watched(model, pixels, pools[-1], pools[-1].weights), _pooled_prefix(model))


def _class_token(model: ImageTextModel, pixels: Tensor, _queries: Tensor) -> Tensor | None:
    """Return the attention of the class token to the patches in the last block, the mean over its heads."""
    attention, weights_of = _last_attention(model.image)
    if attention is None or model.fusion is not None:
        return None
    weights = _watched(model, pixels, attention, lambda tokens, *_: weights_of(attention, tokens))
    return _patches(weights, _num_prefix_tokens(model.image))


def _watched(model: ImageTextModel, pixels: Tensor, module: nn.Module, read: Callable[..., Tensor]) -> Tensor:
    """Return read(inputs) of a module of the image tower, run on photos."""
    found: list[tuple[Tensor, ...]] = []
    hook = module.register_forward_pre_hook(lambda _, inputs: found.append(inputs))
    with torch.no_grad():
        try:
            model.encode_image(pixels)
        finally:
            hook.remove()
        return read(*found[0])


def _last_attention(tower: ImageTower) -> tuple[Any, Callable[[Any, Tensor], Tensor]]:
    """Return the last attention of a transformer whose features are its class token, and how to read its weights."""
    visual, trunk = _clip_transformer(tower), _trunk(tower)
    if visual is not None:
        of_token = visual.attn_pool is None and visual.pool_type == "tok"
        return (visual.transformer.resblocks[-1].attn if of_token else None), _open_clip_weights
    if type(trunk) is VisionTransformer and trunk.global_pool == "token" and getattr(tower, "pool", None) is None:
        return trunk.blocks[-1].attn, _timm_weights
    return None, _timm_weights


def _timm_weights(attention: Any, tokens: Tensor) -> Tensor:
    """Return the class token's attention (batch, n) in timm's `Attention` of tokens (batch, n, width)."""
    batch, count, _ = tokens.shape
    heads = attention.qkv(tokens).reshape(batch, count, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    query, key = attention.q_norm(heads[0]), attention.k_norm(heads[1])
    weights: Tensor = (attention.scale * query[:, :, :1] @ key.transpose(-2, -1)).softmax(-1)
    return weights.mean(dim=1)[:, 0]


def _open_clip_weights(attention: Any, tokens: Tensor) -> Tensor:
    """Return the class token's attention (batch, n) in torch's `MultiheadAttention` of tokens (batch, n, width)."""
    weights: Tensor = attention(tokens, tokens, tokens, need_weights=True, average_attn_weights=True)[1]
    return weights[:, 0]


def _grad_cam(model: ImageTextModel, pixels: Tensor, queries: Tensor) -> Tensor | None:
    """Return Grad-CAM of the product of a photo's embedding and a unit query, with the slope of each cell (HiResCAM).

    A cell is relu(sum over channels of activation x slope), the form of Draelos and Carin 2020 (arXiv:2011.08891): with
    the mean slope of a channel (Selvaraju et al. 2017, arXiv:1610.02391) layers before the last one often give an empty
    map. Both are equal under a mean over cells. The length of the embedding is not divided out, because the slope of a
    cosine has no part along the embedding. The layer is the deepest one whose cells the similarity depends on, of
    MIN_SIDE cells a side if there is one.
    """
    with torch.enable_grad():
        outputs, features = _layer_outputs(model, pixels)
        if not outputs:
            return None
        embedded = model.embed_image(features).float()
        score = (embedded * functional.normalize(queries.to(embedded), dim=-1)).sum()
    prefix = _num_prefix_tokens(model.image) if model.fusion is None else _pooled_prefix(model)
    last = getattr(_trunk(model.image), "output_fmt", "") == "NHWC"
    deepest: Tensor | None = None
    for output in reversed(outputs):
        # One layer at a time: the slopes of the layers before it would cost as much as the tower.
        slope = torch.autograd.grad(score, output, retain_graph=True, allow_unused=True)[0]
        cells, own = (None if value is None else _cells(value, prefix, last) for value in (output, slope))
        if cells is not None and own is not None and own.abs().sum() > 0:
            shown = (cells * own).sum(dim=3).relu()
            if shown.shape[1] >= MIN_SIDE:
                return shown
            deepest = shown if deepest is None else deepest
    return deepest


def _layer_outputs(model: ImageTextModel, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return the outputs of the tower's layers, stem first, and the features (photos, dim), with their graph."""
    tower = model.image
    values = tower.normalise(pixels).requires_grad_()
    if model.fusion is not None:
        tokens = tower.tokens(values)
        return [tokens], model.fusion.image(tokens)
    outputs = []
    for layer in _layers(tower):
        values = layer(values)
        outputs.append(values)
    return outputs[:-1], values


def _layers(tower: ImageTower) -> list[Callable[[Tensor], Tensor]]:
    layers = [block.run for block in tower.forward_blocks()]
    trunk = _trunk(tower)
    if trunk is not None and type(trunk) not in FAMILIES and hasattr(trunk, "forward_features"):
        layers[:1] = [trunk.forward_features, trunk.forward_head]
    return layers


def _cells(values: Tensor, prefix: int, channels_last: bool) -> Tensor | None:
    """Return a layer's output as (photos, rows, columns, width) without prefix tokens; None if it is no map."""
    if values.ndim == 4:
        values = values if channels_last else values.permute(0, 2, 3, 1)
        return values if values.shape[1] * values.shape[2] > 1 else None
    patches = _patches(values, prefix) if values.ndim == 3 else None
    return None if patches is None else patches.reshape(len(patches), isqrt(patches.shape[1]), -1, patches.shape[2])


def _patches(tokens: Tensor, prefix: int) -> Tensor | None:
    """Return the values (photos, n, ...) behind the first `prefix` tokens; None if they are no square of patches."""
    patches = tokens[:, prefix:]
    return patches if isqrt(patches.shape[1]) ** 2 == patches.shape[1] > 1 else None


def _pooled_prefix(model: ImageTextModel) -> int:
    """Return how many of the tokens that are pooled or fused are no patches: the class token of an open_clip tower."""
    return int(_clip_transformer(model.image) is not None)


def _num_prefix_tokens(tower: ImageTower) -> int:
    """Return how many tokens a transformer has before its patches."""
    return 1 if _clip_transformer(tower) is not None else int(getattr(_trunk(tower), "num_prefix_tokens", 0))


def _clip_transformer(tower: ImageTower) -> Any:
    """Return open_clip's vision transformer, None for other towers; by its parts, to import open_clip for no other."""
    visual = getattr(tower, "visual", None)
    return visual if hasattr(visual, "class_embedding") else None


def _trunk(tower: ImageTower) -> Any:
    """Return the timm model of a tower, None if it has none."""
    return getattr(getattr(tower, "visual", tower), "trunk", None)


# Method -> its maps, in the order in which they are tried: every tower has the first one that applies.
METHODS: dict[AttentionKind, MapsOf] = {"pooling": _pooling, "class_token": _class_token, "grad_cam": _grad_cam}
