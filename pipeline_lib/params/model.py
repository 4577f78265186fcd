"""Which towers the model has and what stands on top of them."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Keys, Section

ImageTowerKind = Literal["timm"]
TextTowerKind = Literal["hf"]
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


class ClassifierParams(Keys):
    """The classification head: Dropout, Linear, GELU, Dropout, Linear."""

    inputs: ClassifierInputs
    hidden: Annotated[int, Field(gt=0)]
    dropout: Annotated[float, Field(ge=0, lt=1)]


class ModelParams(Section):
    """Two towers, the joint embedding, and the classifier."""

    section: ClassVar[str] = "model"
    weights_root: str
    image: ImageTowerParams
    text: TextTowerParams
    embedding_dim: Annotated[int, Field(gt=0)]
    logit_scale: Annotated[float, Field(ge=0, le=4.6052)]
    classifier: ClassifierParams
