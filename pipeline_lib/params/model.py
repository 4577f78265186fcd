"""Which towers the model has and what stands on top of them."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Keys, Section

ImageTowerKind = Literal["timm", "open_clip"]
TextTowerKind = Literal["hf", "open_clip"]
ImageFeature = Literal["pooled", "new_fc", "logits"]
ImagePoolingKind = Literal["mean", "max", "gem", "attentive", "abs_attn", "rot_attn"]
PoolingKind = Literal["cls", "mean", "max", "gem", "attentive", "last"]
ProjectorKind = Literal["linear", "mlp", "none"]
FusionKind = Literal["late", "early"]
SimilarityKind = Literal["cosine", "dot"]
TemperatureKind = Literal["fixed", "learned", "per_direction"]
VocabularyKind = Literal["full", "cut"]
ClassifierInputs = Literal["concat", "gated", "sum", "image", "text"]
ClassifierKind = Literal["mlp", "linear", "cosine"]
MissingImage = Literal["black", "learned"]
Channels = tuple[float, float, float]


class ImageTowerParams(Keys):
    """An image tower: architecture, weights, what pixels it wants, and which of its outputs is the feature."""

    kind: ImageTowerKind
    name: str
    weights: str | None
    pretrained: bool
    size: Annotated[int, Field(gt=0)]
    mean: Channels | None
    std: Channels | None
    args: dict[str, Any]
    feature: ImageFeature
    pooling: ImagePoolingKind | None


class TextTowerParams(Keys):
    """A text tower: model, weights, tokenizer, pooling of its tokens, and the longest text."""

    kind: TextTowerKind
    name: str
    weights: str | None
    pretrained: bool
    config: dict[str, Any]
    tokenizer: str | None
    pooling: PoolingKind
    max_tokens: Annotated[int, Field(ge=4)]
    vocabulary: VocabularyKind


class ProjectorParams(Keys):
    """The maps from the towers' features into the joint space."""

    image: ProjectorKind
    text: ProjectorKind
    hidden: Annotated[int, Field(gt=0)]
    shared: bool


class ClassifierParams(Keys):
    """The classification head: how both sides become one vector, and what tells its class."""

    kind: ClassifierKind
    inputs: ClassifierInputs
    hidden: Annotated[int, Field(gt=0)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    scale: Annotated[float, Field(gt=0)]


class RegisterMemoryParams(Keys):
    """Learned slots that each transformer layer of both towers reads; none = off."""

    slots_private: Annotated[int, Field(ge=0)]
    slots_shared: Annotated[int, Field(ge=0)]


class PositionalConvParams(Keys):
    """A convolution of the image tower's patches on their grid, after a block counted from 1; 0 = off."""

    after_block: Annotated[int, Field(ge=0)]
    stride: Literal[1, 2]


class ModelParams(Section):
    """Two towers, the joint embedding, and the classifier."""

    section: ClassVar[str] = "model"
    weights_root: str
    image: ImageTowerParams
    text: TextTowerParams
    embedding_dim: Annotated[int, Field(gt=0)]
    projector: ProjectorParams
    fusion: FusionKind
    fusion_heads: Annotated[int, Field(gt=0)]
    similarity: SimilarityKind
    temperature: TemperatureKind
    logit_scale: Annotated[float, Field(ge=0, le=4.6052)]
    classifier: ClassifierParams
    missing_image: MissingImage
    register_memory: RegisterMemoryParams
    positional_conv: PositionalConvParams
