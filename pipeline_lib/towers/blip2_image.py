"""The image tower of BLIP-2: EVA's vision transformer without its last block, and the norm behind it.

Its tokens are what a Q-Former of BLIP-2 was trained with. The weights are those of a BLIP-2 model of transformers, by
folder or hub name, or of a file in LAVIS's names (`visual_encoder.`, `ln_vision.`), as LAVIS and SPRC save it.
"""

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import Blip2VisionConfig, Blip2VisionModel

from pipeline_lib.batch import LayerGroup
from pipeline_lib.params.model import ImageSettings, ImageTowerParams
from pipeline_lib.towers.blip2_files import (
    changed_config,
    config_of_tensors,
    default_config,
    lavis_tower,
    published_config,
    published_tower,
)
from pipeline_lib.towers.file_tensors import Tensors, with_prefix
from pipeline_lib.towers.probe import image_fault
from pipeline_lib.towers.tower import (
    Description,
    ForwardBlock,
    ImageTower,
    TowerSource,
    check_groups,
    check_pretrained,
    groups_of,
)
from pipeline_lib.transforms.resizing import Resizing

BARE = "blip2"  # a name without a config: EVA-g of BLIP-2, or the sizes of a file
# Of each colour channel, as CLIP, EVA and BLIP-2 were trained.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
# The published config's 1e-10 would give a tower whose images come out equal.
RANDOM_RANGE = 0.02


class Blip2ImageTower(ImageTower):
    """BLIP-2's vision transformer; its features (batch, dim) are the class token behind the last norm."""

    def __init__(self, description: Description) -> None:
        super().__init__(description["mean"], description["std"])
        config = Blip2VisionConfig(**description["config"], initializer_range=RANDOM_RANGE)
        self.visual: Any = Blip2VisionModel(config)
        self.dim = int(config.hidden_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return features (batch, dim) of normalised pixels (batch, 3, height, width)."""
        return self._first(self.tokens(pixels))

    def tokens(self, pixels: Tensor) -> Tensor:
        """Return the class token and the patches behind the last norm, (batch, 1 + n, dim)."""
        hidden = self._embedded(pixels)
        for layer in self.visual.encoder.layers:
            hidden = layer(hidden)
        tokens: Tensor = self.visual.post_layernorm(hidden)
        return tokens

    def encode_tokens(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens that a Q-Former reads, and the features (batch, dim), of uint8 pixels."""
        tokens = self.tokens(self.normalise(pixels))
        return tokens, self._first(tokens)

    def _embedded(self, pixels: Tensor) -> Tensor:
        embedded: Tensor = self.visual.embeddings(pixels, interpolate_pos_encoding=True)
        return embedded

    def _first(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0]

    def forward_blocks(self, mask: Tensor | None = None) -> list[ForwardBlock]:
        """Return the embeddings, each layer, and the last norm with the class token."""
        layers = [
            ForwardBlock((f"visual.encoder.layers.{number}",), layer)
            for number, layer in enumerate(self.visual.encoder.layers)
        ]
        last = ForwardBlock(("visual.post_layernorm",), lambda hidden: self._first(self.visual.post_layernorm(hidden)))
        return [ForwardBlock(("visual.embeddings",), self._embedded), *layers, last]

    def checkpoint_activations(self) -> bool:
        """Turn on the layers' activation checkpointing."""
        self.visual.gradient_checkpointing_enable({"use_reentrant": False})
        return True

    def layer_groups(self) -> list[LayerGroup]:
        """Return the embeddings and each layer, the last with the norm behind it."""
        last = len(self.visual.encoder.layers) - 1
        layers = [
            (f"block.{number}", (f"visual.encoder.layers.{number}", *(("visual.post_layernorm",) * (number == last))))
            for number in range(last + 1)
        ]
        return check_groups(self, groups_of(self, [("embeddings", ("visual.embeddings",)), *layers]))


def resolve_blip2(model: ImageSettings) -> TowerSource:
    """Return the source of BLIP-2's image tower; ValueError for an unknown name, file or setting."""
    params, early = model.image, model.fusion == "early"
    for key, default in (("feature", "pooled"), ("pooling", None)):
        if getattr(params, key) != default and not (early and key == "pooling"):
            raise ValueError(
                f"model.image.{key} = {getattr(params, key)!r}: a blip2 tower gives its class token; set it to "
                f"{default or 'null'}"
            )
    check_pretrained("model.image", params.pretrained, params.weights)
    config, origin, state = _found(params)
    given = {"resize_mode": "squash"} | params.model_dump(exclude_none=True)
    description: Description = {
        "kind": "blip2",
        "config": config,
        "mean": list(params.mean or MEAN),
        "std": list(params.std or STD),
        "size": params.size,
        **Resizing.of(given).stated(),
        "tokens": early,
    }
    patch = config["patch_size"]
    # The library leaves the rest of the image out.
    fault = f"no multiple of its patches of {patch} px" if params.size % patch else image_fault(description)
    if fault is not None:
        raise ValueError(
            f"model.image.name = {params.name!r} cannot embed images of {params.size} px ({fault}); set "
            f"model.image.size = {config['image_size']}, its own"
        )
    return TowerSource(description, origin, state)


def _found(params: ImageTowerParams) -> tuple[Description, str | None, Tensors | None]:
    """Return the config, the origin of the weights, and the weights, both None for random ones."""
    if params.weights is not None:
        tensors = lavis_tower(Path(params.weights))
        config = config_of_tensors(tensors) if params.name == BARE else published_config(params.name)
        return changed_config(config, params.args), params.weights, with_prefix(tensors, "visual.")
    if params.name == BARE:
        if params.pretrained:
            raise ValueError(
                f"model.image.name = {BARE!r} has no weights of its own; set model.image.weights to a file of LAVIS, "
                "or the name to a BLIP-2 model (Salesforce/blip2-itm-vit-g)"
            )
        return changed_config(default_config(), params.args), None, None
    config = changed_config(published_config(params.name), params.args)
    if not params.pretrained:
        return config, None, None
    return config, params.name, with_prefix(published_tower(params.name), "visual.")
