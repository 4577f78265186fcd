"""Image towers of open_clip: its vision transformers and ResNets, and timm trunks with its heads.

The tower includes the projection that its weights were trained with, so `model.projector.image` may be none. A vision
transformer supports other image sizes than its own: its position embeddings are resized as open_clip does on loading.
"""

from collections.abc import Callable

import torch
from open_clip.model import _build_vision_tower
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from pipeline_lib.batch import LayerGroup
from pipeline_lib.params.model import ImageSettings, ImageTowerParams
from pipeline_lib.towers.file_tensors import with_prefix
from pipeline_lib.towers.open_clip_config import ClipModel, find_clip_model, read_checkpoint, with_config_changes
from pipeline_lib.towers.probe import by_first_names, image_fault
from pipeline_lib.towers.timm_blocks import timm_blocks
from pipeline_lib.towers.tower import (
    Description,
    ForwardBlock,
    ImageTower,
    Parts,
    TowerSource,
    check_groups,
    groups_of,
)
from pipeline_lib.towers.trunks import (
    checkpoint_trunk,
    drop_caches,
    free_size,
    memory_format,
    set_memory_format,
    trunk_groups,
)
from pipeline_lib.towers.unpooled import channels_last, run_trunk


class OpenClipImageTower(ImageTower):
    """An open_clip image tower with projected features (batch, embed_dim)."""

    def __init__(self, description: Description) -> None:
        super().__init__(description["mean"], description["std"])
        config = {**description["vision_cfg"], "timm_model_pretrained": False, "output_tokens": False}
        self.visual: nn.Module = _build_vision_tower(description["embed_dim"], config, description["quick_gelu"])
        if isinstance(self.visual, TimmModel):
            free_size(self.visual.trunk)
            drop_caches(self.visual.trunk)
            self.memory_format = memory_format(self.visual.trunk)
        set_memory_format(self.visual, self.memory_format)
        self.dim: int = description["embed_dim"]

    def forward(self, pixels: Tensor) -> Tensor:
        """Return features (batch, dim) of normalised pixels (batch, 3, height, width)."""
        visual = self.visual
        if not isinstance(visual, VisionTransformer):
            features: Tensor = visual(pixels)
            return features
        return self._pooled(visual, self._hidden(visual, pixels))

    def _pooled(self, visual: VisionTransformer, hidden: Tensor) -> Tensor:
        pooled: Tensor = visual._pool(hidden)[0] @ visual.proj
        return pooled

    def tokens(self, pixels: Tensor) -> Tensor:
        """Return the class token and the patches in the joint space, (batch, 1 + n, dim)."""
        visual = self.visual
        assert isinstance(visual, VisionTransformer), "only a vision transformer is resolved for its tokens"
        tokens: Tensor = visual.ln_post(self._hidden(visual, pixels)) @ visual.proj
        return tokens

    def encode_tokens(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens, or the last feature map, and the features (batch, dim), of uint8 pixels."""
        visual, values = self.visual, self.normalise(pixels)
        if isinstance(visual, VisionTransformer):
            hidden = self._hidden(visual, values)
            norm_first = visual.attn_pool is None and not visual.final_ln_after_pool
            return visual.ln_post(hidden) if norm_first else hidden, self._pooled(visual, hidden)
        if isinstance(visual, TimmModel) and not hasattr(visual.head, "pool"):
            tokens, output = run_trunk(visual.trunk, values)
            return tokens, visual.head(output)
        # Its attention pooling is the last module.
        cells, pool = (visual.trunk, visual.head) if isinstance(visual, TimmModel) else _split_resnet(visual)
        unpooled = cells(values)
        return channels_last(unpooled), pool(unpooled)

    def _hidden(self, visual: VisionTransformer, pixels: Tensor) -> Tensor:
        hidden: Tensor = visual.transformer(self._embedded(visual, pixels))
        return hidden

    def _embedded(self, visual: VisionTransformer, pixels: Tensor) -> Tensor:
        patches = visual.conv1(pixels)
        grid = list(patches.shape[-2:])
        patches = patches.flatten(2).transpose(1, 2)
        first = visual.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        positions = resample_abs_pos_embed(
            visual.positional_embedding.unsqueeze(0), grid, list(visual.grid_size), num_prefix_tokens=1
        )
        tokens = visual.patch_dropout(torch.cat([first, patches], dim=1) + positions.to(patches.dtype))
        embedded: Tensor = visual.ln_pre(tokens)
        return embedded

    def forward_blocks(self, mask: Tensor | None = None) -> list[ForwardBlock]:
        """Return the embeddings, each block and the projection; for the other kinds the stages and the head."""
        visual = self.visual
        if isinstance(visual, TimmModel):
            return [*timm_blocks(visual.trunk, "visual.trunk"), ForwardBlock(("visual.head",), visual.head)]
        if isinstance(visual, ModifiedResNet):
            parts = _resnet_parts()
            stages = [ForwardBlock((f"visual.{name}",), visual.get_submodule(name)) for name, _ in parts[1:]]
            no_parameters = tuple(f"visual.{name}" for name in ("act1", "act2", "act3", "avgpool"))
            return [ForwardBlock((*parts[0][1], *no_parameters), visual.stem), *stages]
        assert isinstance(visual, VisionTransformer)
        blocks = [
            ForwardBlock((f"visual.transformer.resblocks.{number}",), block)
            for number, block in enumerate(visual.transformer.resblocks)
        ]
        head = ("visual.attn_pool", "visual.attn_pool_contrastive", "visual.ln_post", "visual.proj")
        return [
            ForwardBlock((*_stem(), "visual.patch_dropout"), lambda pixels: self._embedded(visual, pixels)),
            *blocks,
            ForwardBlock(head, lambda hidden: self._pooled(visual, hidden)),
        ]

    def checkpoint_activations(self) -> bool:
        """Turn on activation checkpointing; open_clip's ResNets do not support it."""
        if isinstance(self.visual, TimmModel):
            return checkpoint_trunk(self.visual.trunk)
        if not isinstance(self.visual, VisionTransformer):
            return False
        self.visual.set_grad_checkpointing(True)
        return True

    def layer_groups(self) -> list[LayerGroup]:
        """Return the groups that open_clip's `lock` counts, and the head of a timm trunk, which it never locks."""
        visual = self.visual
        if isinstance(visual, TimmModel):
            head = groups_of(self, [("head", ("visual.head",))])
            return check_groups(self, [*trunk_groups(visual.trunk, "visual.trunk"), *head])
        parts = _resnet_parts() if isinstance(visual, ModifiedResNet) else _transformer_parts(visual)
        return check_groups(self, groups_of(self, parts))


def _split_resnet(visual: nn.Module) -> tuple[Callable[[Tensor], Tensor], nn.Module]:
    assert isinstance(visual, ModifiedResNet)
    stages = (visual.layer1, visual.layer2, visual.layer3, visual.layer4)
    return lambda pixels: nn.Sequential(*stages)(visual.stem(pixels)), visual.attnpool


def _stem() -> tuple[str, ...]:
    return tuple(f"visual.{part}" for part in ("class_embedding", "positional_embedding", "conv1", "ln_pre"))


def _transformer_parts(visual: nn.Module) -> Parts:
    assert isinstance(visual, VisionTransformer)
    last = len(visual.transformer.resblocks) - 1
    head = ("visual.attn_pool", "visual.attn_pool_contrastive", "visual.ln_post")
    blocks = [
        (f"block.{number}", (f"visual.transformer.resblocks.{number}", *(head if number == last else ())))
        for number in range(last + 1)
    ]
    return [("embeddings", _stem()), *blocks, ("projection", ("visual.proj",))]


def _resnet_parts() -> Parts:
    stem = tuple(f"visual.{part}{number}" for part in ("conv", "bn") for number in (1, 2, 3))
    return [("stem", stem), *((name, (f"visual.{name}",)) for name in ("layer1", "layer2", "layer3", "layer4")),
            ("attnpool", ("visual.attnpool",))]  # fmt: skip


def resolve_open_clip_image(model: ImageSettings) -> TowerSource:
    """Return the source of an open_clip image tower; ValueError for unknown models, weights or settings."""
    params, early = model.image, model.fusion == "early"
    for key, default in (("feature", "pooled"), ("pooling", None)):
        if getattr(params, key) != default and not (early and key == "pooling"):
            raise ValueError(
                f"model.image.{key} = {getattr(params, key)!r}: an open_clip tower has its own, set with "
                f"model.image.args (timm_pool, timm_proj, pool_type); set model.image.{key} = {default or 'null'}, or "
                "choose a tower of timm (model.image.kind and name)"
            )
    clip = find_clip_model("model.image", params)
    description = _fit_to_size(_describe(params, clip, early), params.name, clip.weights is not None)
    if clip.weights is None:
        return TowerSource(description, None, None)
    checkpoint = read_checkpoint(clip.weights)
    state = by_first_names(with_prefix(checkpoint.towers["image"], "visual."), description)
    return TowerSource(description, str(clip.weights), state, notes=clip.preprocessing.notes, scales=checkpoint.scales)


def _fit_to_size(description: Description, name: str, pretrained: bool) -> Description:
    """Return a description of a tower that embeds images of its size, with open_clip's `image_size` if it needs that.

    ValueError with the reason if it cannot.
    """
    fault, config, size = image_fault(description), description["vision_cfg"], description["size"]
    if fault is None:
        return description
    sized = {**description, "vision_cfg": {**config, "image_size": size}}
    # A ResNet's table of positions is not resized, so only random weights can have another size.
    if not pretrained and image_fault(sized) is None:
        return sized
    own = config.get("image_size", 224)
    works = own != size and image_fault({**description, "size": own}) is None
    way = f"model.image.size = {own} (its own)" if works else "another model.image.name"
    raise ValueError(f"model.image.name = {name!r} cannot embed images of {size} px ({fault}); set {way}")


def _describe(params: ImageTowerParams, clip: ClipModel, early: bool) -> Description:
    config = with_config_changes("model.image.args", clip.vision, params.args)
    other = isinstance(config.get("layers"), list | tuple) or config.get("timm_model_name") is not None
    if early and (other or config.get("attentional_pool")):
        raise ValueError(
            f"model.fusion = 'early' needs an image tower with tokens, but {params.name} has pooled features only; set "
            "model.fusion = late, or choose a tower of timm (model.image.kind and name)"
        )
    return {
        "kind": "open_clip",
        "embed_dim": clip.embed_dim,
        "vision_cfg": config,
        "quick_gelu": clip.quick_gelu,
        "mean": clip.preprocessing.mean,
        "std": clip.preprocessing.std,
        "size": params.size,
        **clip.preprocessing.resizing.stated(),
        "tokens": early,
    }
