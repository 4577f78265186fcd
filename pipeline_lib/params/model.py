"""Which towers the model has and what stands on top of them."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Keys, Section

ImageTowerKind = Literal["timm"]
TextTowerKind = Literal["hf"]
VocabularyKind = Literal["full", "cut"]
PoolingKind = Literal["cls", "mean"]
ClassifierInputs = Literal["concat", "image", "text"]
Channels = tuple[float, float, float]


class ImageTowerParams(Keys):
    """An image tower: architecture, weights, and what pixels it wants."""

    kind: ImageTowerKind
    name: str
    weights: str | None
    pretrained: bool
    size: Annotated[int, Field(gt=0)]
    mean: Channels | None
    std: Channels | None


class TextTowerParams(Keys):
    """A text tower: model, pooling of its tokens, and the longest text."""

    kind: TextTowerKind
    name: str
    pretrained: bool
    pooling: PoolingKind
    max_tokens: Annotated[int, Field(ge=4)]
    vocabulary: VocabularyKind


class ClassifierParams(Keys):
    """The classification head: Dropout, Linear, GELU, Dropout, Linear."""

    inputs: ClassifierInputs
    hidden: Annotated[int, Field(gt=0)]
    dropout: Annotated[float, Field(ge=0, lt=1)]


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
    logit_scale: Annotated[float, Field(ge=0, le=4.6052)]
    classifier: ClassifierParams
    register_memory: RegisterMemoryParams
    positional_conv: PositionalConvParams
