"""The model: an image and a text tower, projections into a joint space, and a classifier; each head only if trained.

A batch has pixels and tokens, or stored activations, or stored features. The model runs only those layers of the towers
whose outputs are not stored. `describe` and `build_model` are inverse, so a saved model is rebuilt without params.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.models.adapters import adapter_state, attach, describe_adapters
from pipeline_lib.models.classifier import Classifier, ClassifierConfig
from pipeline_lib.models.content import mean_of_photos, mix_features, mix_pixels
from pipeline_lib.models.frame_pooling import FramePooling, FramePoolingConfig, PooledFrames, describe_frames
from pipeline_lib.models.fusion import EarlyFusion
from pipeline_lib.models.scale_bounds import MAX_LOG_SCALE, ScaleBounds
from pipeline_lib.params.model import ModelParams, SimilarityKind, TemperatureKind
from pipeline_lib.towers.joint_space import settle_heads
from pipeline_lib.towers.kinds import build_image_tower, build_text_tower
from pipeline_lib.towers.pooling import TEXT_POOLING
from pipeline_lib.towers.projectors import projections
from pipeline_lib.towers.stored_tower import StoredImageTower, StoredTextTower
from pipeline_lib.towers.tower import Description, ImageTower, TextTower, TowerSource
from pipeline_lib.towers.weights import load_strictly

# Tower -> how many of its last layer groups run on the stored activations of a batch.
SuffixGroups = Mapping[str, int]
NO_SUFFIX: SuffixGroups = MappingProxyType({})
# Defaults of the keys that a description may lack.
DEFAULTS: Description = {
    "projector": {"image": "linear", "text": "linear", "hidden": 0, "shared": False},
    "fusion": None,
    "similarity": "cosine",
    "temperature": "learned",
    "missing_image": "black",
}


def _unit(embeddings: Tensor) -> Tensor:
    return functional.normalize(embeddings, dim=-1)


def _unchanged(embeddings: Tensor) -> Tensor:
    return embeddings


# Name -> function(embeddings (batch, dim)) -> embeddings whose dot products are the similarities.
SIMILARITIES: dict[SimilarityKind, Callable[[Tensor], Tensor]] = {"cosine": _unit, "dot": _unchanged}


class ImageTextModel(nn.Module):
    """Image and text towers with the heads of `description`.

    With `dims`, the widths of both towers' stored features, it has the heads alone.
    """

    scale_bounds: ClassVar[ScaleBounds] = {"logit_scale": (0.0, MAX_LOG_SCALE)}

    def __init__(self, description: Description, dims: dict[str, int] | None = None) -> None:
        super().__init__()
        self.description = description = DEFAULTS | description
        self.image = StoredImageTower(dims["image"]) if dims else build_image_tower(description["image"])
        self.text = StoredTextTower(dims["text"]) if dims else build_text_tower(description["text"])
        dims = {"image": self.image.dim, "text": self.text.dim}
        width: int = description["embedding_dim"]
        self.fusion: EarlyFusion | None = None
        if description["fusion"]:
            self.fusion = EarlyFusion(dims, width, **description["fusion"])
            dims = {"image": width, "text": width}
        head: dict[str, nn.Module] = {}
        if description["retrieval"]:
            projector = description["projector"]
            kinds = {name: projector[name] for name in dims}
            head |= projections(kinds, dims, width, projector["hidden"], projector["shared"])
            self._set_temperature(description["temperature"], float(description["logit_scale"]))
        if description["classes"]:
            config = ClassifierConfig(**description["classifier"])
            head["classifier"] = Classifier(config, dims, len(description["classes"]))
        self.head = nn.ModuleDict(head)
        frames = description.get("frames")
        self.frames = FramePooling(dims["image"], FramePoolingConfig(**frames)) if frames else None
        learned = description["missing_image"] == "learned"
        # Not zeros: the direction of a zero vector, which the cosine needs, has no gradient.
        self.missing_image = nn.Parameter(0.02 * torch.randn(dims["image"])) if learned else None
        self.shared_slots = attach(self.towers(), description.get("adapters", {}))

    def _set_temperature(self, kind: TemperatureKind, start: float) -> None:
        """Set `logit_scale`: a buffer if it is fixed, else a parameter, scalar or [text -> image, image -> text]."""
        if kind == "fixed":
            self.register_buffer("logit_scale", torch.tensor(start))
        else:
            value = torch.tensor(start if kind == "learned" else [start, start])
            self.logit_scale = nn.Parameter(value)

    def towers(self) -> dict[str, ImageTower | TextTower]:
        """Return the towers by name."""
        return {"image": self.image, "text": self.text}

    def head_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Return the parameters outside the towers: projections, classifier, logit scale, frame pooling."""
        towers = ("image.", "text.")
        return [(name, value) for name, value in self.named_parameters() if not name.startswith(towers)]

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return pooled features (batch, dim) of uint8 pixels (batch, 3, height, width)."""
        if self.fusion is None:
            return self.image.encode(pixels)
        return self.fusion.image(self.image.tokens(self.image.normalise(pixels)))

    def encode_text(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Return pooled features (batch, dim) of token ids and their mask, both (batch, length)."""
        if self.fusion is None:
            return self.text.encode(token_ids, mask)
        return self.fusion.text(self.text.tokens(token_ids, mask), mask)

    def features(self, batch: Batch, num_suffix_groups: SuffixGroups = NO_SUFFIX) -> dict[str, Tensor]:
        """Return both sides' pooled features (batch, dim), stored ones where the batch has them.

        If the batch has stored activations of a tower, its last `num_suffix_groups` layer groups run on them.
        Mixed products are mixed as pixels if the batch has pixels, else as features; texts always as features.
        """
        return self._features_and_logits(batch, num_suffix_groups)[0]

    def _features_and_logits(
        self, batch: Batch, num_suffix_groups: SuffixGroups
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return `features` and the logits of the frame attention (photos,), None without it."""
        features: dict[str, Tensor] = {}
        frame_logits = None
        image = self._image_features(batch, num_suffix_groups)
        if image is not None:
            if batch.photo_mask is not None:
                pooled = self.pool_photos(image, batch.photo_mask)
                image, frame_logits = pooled.features, pooled.logits
            image = self.with_missing(image, batch.has_image)
            features["image"] = image if batch.pixels is not None else mix_features(image, batch)
        text = self._text_features(batch, num_suffix_groups)
        if text is not None:
            features["text"] = mix_features(text, batch)
        return features, frame_logits

    def pool_photos(self, features: Tensor, mask: Tensor) -> PooledFrames:
        """Pool features (photos, dim) of several products; `mask` (products, most photos) is that of `mask_of`."""
        if self.frames is None:
            return PooledFrames(mean_of_photos(features, mask.sum(dim=1)))
        pooled: PooledFrames = self.frames(features, mask)
        return pooled

    def _image_features(self, batch: Batch, num_suffix_groups: SuffixGroups) -> Tensor | None:
        """Return pooled features (photos, dim), from stored features, stored activations or (mixed) pixels."""
        if batch.image_features is not None:
            return batch.image_features
        if batch.image_activations is not None:
            return self.image.forward_suffix(batch.image_activations, num_suffix_groups["image"])
        return self.encode_image(mix_pixels(batch.pixels, batch)) if batch.pixels is not None else None

    def _text_features(self, batch: Batch, num_suffix_groups: SuffixGroups) -> Tensor | None:
        """Return pooled features (batch, dim), from stored features, stored activations or tokens."""
        if batch.text_features is not None:
            return batch.text_features
        if batch.token_mask is None:
            return None
        if batch.text_activations is not None:
            return self.text.forward_suffix(batch.text_activations, batch.token_mask, num_suffix_groups["text"])
        return self.encode_text(batch.token_ids, batch.token_mask) if batch.token_ids is not None else None

    def with_missing(self, image: Tensor, has_image: Tensor | None) -> Tensor:
        """Return image features (batch, dim), replaced by the learned vector for products without an image."""
        if self.missing_image is None or has_image is None:
            return image
        return torch.where(has_image[:, None], image, self.missing_image.to(image.dtype))

    def embed_image(self, features: Tensor) -> Tensor:
        """Return embeddings (batch, embedding_dim) of pooled image features; unit length for cosine similarity."""
        return self._embed("image", features)

    def embed_text(self, features: Tensor) -> Tensor:
        """Return embeddings (batch, embedding_dim) of pooled text features; unit length for cosine similarity."""
        return self._embed("text", features)

    def _embed(self, side: str, features: Tensor) -> Tensor:
        name = "projection" if self.description["projector"]["shared"] else f"{side}_projection"
        return SIMILARITIES[self.description["similarity"]](self.head[name](features).float())

    def classify(self, features: dict[str, Tensor]) -> Tensor:
        """Return class logits (batch, classes) of pooled features by tower."""
        logits: Tensor = self.head["classifier"](features)
        return logits.float()

    def forward(self, batch: Batch, num_suffix_groups: SuffixGroups = NO_SUFFIX) -> Outputs:
        """Return the outputs of every head; `num_suffix_groups` is as in `features`."""
        features, frame_logits = self._features_and_logits(batch, num_suffix_groups)
        retrieval = self.description["retrieval"]
        return Outputs(
            image_embedding=self.embed_image(features["image"]) if retrieval else None,
            text_embedding=self.embed_text(features["text"]) if retrieval else None,
            logit_scale=self.logit_scale.exp() if retrieval else None,
            class_logits=self.classify(features) if self.description["classes"] else None,
            frame_logits=frame_logits,
        )


def is_heads_alone(model: ImageTextModel) -> bool:
    """Return whether a model has no towers, because it was built for stored features."""
    return isinstance(model.image, StoredImageTower)


def describe(
    params: ModelParams, sources: dict[str, TowerSource], retrieval: bool, classes: list[str]
) -> dict[str, Any]:
    """Return the description to rebuild the model from, as JSON values."""
    params = settle_heads(params, sources)
    return {
        **{name: source.description for name, source in sources.items()},
        "embedding_dim": params.embedding_dim,
        "projector": params.projector.model_dump(),
        "fusion": _fusion(params) if params.fusion == "early" else None,
        "similarity": params.similarity,
        "temperature": params.temperature,
        "logit_scale": params.logit_scale,
        "classifier": params.classifier.model_dump(),
        "missing_image": params.missing_image,
        "retrieval": retrieval,
        "classes": classes,
        **({"adapters": adapters} if (adapters := describe_adapters(params)) else {}),
        **({"frames": frames} if (frames := describe_frames(params.frames)) else {}),
    }


def _fusion(params: ModelParams) -> dict[str, Any]:
    image = params.image.pooling or "mean"
    if image not in TEXT_POOLING:
        raise ValueError(
            f"model.image.pooling = {image!r} needs a feature map, model.fusion = early has tokens; use gem"
        )
    return {"heads": params.fusion_heads, "pooling": {"image": image, "text": params.text.pooling}}


def build_model(description: Description, sources: dict[str, TowerSource] | None = None) -> ImageTextModel:
    """Build a model from its description, with the towers' pretrained weights from `sources`."""
    model = ImageTextModel(description)
    for name, source in (sources or {}).items():
        if source.state is not None:
            tower = model.towers()[name]
            load_strictly(tower, {**adapter_state(tower), **source.state}, str(source.weights), source.new)
    return model
