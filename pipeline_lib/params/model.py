"""Which towers the model has, and the heads on top of them."""

from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Protocol

from pydantic import Field

from pipeline_lib.params.section import Keys, Section
from pipeline_lib.params.values import FROM_LIST, FilePath, Interpolation, Name, Pixels, ResizeMode, Width

ImageTowerKind = Literal["timm", "open_clip", "blip2"]
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
FramePoolingKind = Literal["mean", "attention"]
Channels = Annotated[tuple[float, float, float], FROM_LIST]


class ImageTowerParams(Keys):
    """Image tower: architecture, weights, preprocessing, and which of its outputs is the feature."""

    kind: ImageTowerKind = Field(
        description="Library that builds the tower: timm | open_clip | blip2 (BLIP-2's tower, of transformers)."
    )
    name: Name = Field(
        description="timm: an architecture, or a folder with config.json (architecture, model_args) and "
        "model.safetensors. open_clip: a model's name (four TinyCLIP models and three with ConvNeXt are known as "
        "well), a config's .json, a folder, or hf-hub:owner/model. blip2: a BLIP-2 model's folder or hub name, or "
        "blip2 for a file of LAVIS."
    )
    weights: Name | None = Field(
        description="A .safetensors file for an architecture given by name; null = the weights in the folder, or the "
        "published ones. open_clip: also a .pt or .bin file, or the tag of published weights. blip2: a file in LAVIS's "
        "names with its image tower."
    )
    pretrained: bool = Field(description="false = random initial weights.")
    size: Pixels = Field(description="Image size in training, in pixels.")
    feature: ImageFeature = Field(
        description="Output used as the image feature: pooled (the pooled trunk) | new_fc (a new linear layer on it) | "
        "logits (the output of the pretrained classifier)."
    )
    pooling: ImagePoolingKind | None = Field(
        description="Pooling of the trunk's output: mean | max | gem | attentive | abs_attn | rot_attn (the last two "
        "have embedding_dim outputs); null = the trunk's own."
    )
    resize_mode: ResizeMode | None = Field(
        description="How an image becomes a square: shortest (its shorter side gets the size, the centre is cropped) | "
        "longest (its longer side does, the rest is black) | squash (both sides do) | target_pad (black pads the "
        "shorter side to 1 / 1.25 of the longer one, then as shortest) | square_pad (black pads it to a square); "
        "null = what an open_clip tower's config or published weights say, squash for blip2, else shortest."
    )
    interpolation: Interpolation | None = Field(
        description="Filter of this resizing: bicubic | bilinear; null = as resize_mode, else bicubic."
    )
    mean: Channels | None = Field(
        description="Mean of each colour channel for normalisation; null = the value in the tower's config."
    )
    std: Channels | None = Field(
        description="Standard deviation of each colour channel for normalisation; null = the value in the tower's "
        "config."
    )
    args: dict[str, Any] = Field(
        description="Changes to the architecture: arguments of timm.create_model, keys of open_clip's vision_cfg or "
        "of BLIP-2's vision_config."
    )


class TextTowerParams(Keys):
    """Text tower: model, weights, tokenizer, and how its tokens are pooled."""

    kind: TextTowerKind = Field(
        description="Library that builds the tower: hf (Hugging Face transformers) | open_clip."
    )
    name: Name = Field(
        description="hf: a model's folder or hub name, or a model type (gpt2, bert) whose config is `config`. "
        "open_clip: see model.image.name."
    )
    weights: Name | None = Field(
        description="A .safetensors file for an architecture given by name; null = the weights in the folder, or the "
        "hub's. open_clip: see model.image.weights."
    )
    pretrained: bool = Field(description="false = random initial weights.")
    tokenizer: Name | None = Field(description="Folder or hub name of the tokenizer; null = the tower's own.")
    pooling: PoolingKind = Field(
        description="How token features become one vector: cls | mean | max | gem | attentive | last (the last token "
        "that is not padding, as open_clip's own text towers use)."
    )
    max_tokens: int = Field(
        ge=4,
        le=65_536,
        description="Longer texts are truncated to this many tokens. A batch is padded to its longest text only.",
    )
    config: dict[str, Any] = Field(description="Changes to the Hugging Face config, or to open_clip's text_cfg.")


class ProjectorParams(Keys):
    """Projections from each tower's features to the joint embedding."""

    image: ProjectorKind | None = Field(
        description="Projection of image features: linear | mlp (two layers with GELU between) | none (the features "
        "already have embedding_dim values); null = none for two towers of one checkpoint, which has their "
        "projections, else linear."
    )
    text: ProjectorKind | None = Field(
        description="Projection of text features: linear | mlp | none; null = as for images."
    )
    hidden: Width = Field(description="Hidden units of an mlp.")
    shared: bool = Field(
        description="true = both towers share one projection; their features must have the same width."
    )


class ClassifierParams(Keys):
    """Classification head on top of both towers' features."""

    kind: ClassifierKind = Field(
        description="Layers of the head: mlp (Dropout, Linear, GELU, Dropout, Linear) | linear | cosine (cosines with "
        "class vectors, times a learned scale)."
    )
    inputs: ClassifierInputs = Field(
        description="Features the class is predicted from: concat | gated (a learned gate weighs image against text in "
        "each hidden unit) | sum (through linear layers to `hidden` if the towers' widths differ) | image | text."
    )
    hidden: Width = Field(description="Hidden units.")
    dropout: float = Field(ge=0, lt=1, description="Dropout probability.")
    scale: float = Field(gt=0, description="Initial value of cosine's learned scale.")


class RegisterMemoryParams(Keys):
    """Adapter: learned memory slots that every transformer layer of both towers reads."""

    slots_private: int = Field(
        ge=0, le=65_536, description="Slots of each layer's own. 0 here and in slots_shared = off."
    )
    slots_shared: int = Field(ge=0, le=65_536, description="Slots that all layers of both towers share.")


class PositionalConvParams(Keys):
    """Adapter: a convolution over the patch grid of a vision transformer."""

    after_block: int = Field(ge=0, description="Block after which it is inserted, counted from 1; 0 = off.")
    stride: int = Field(ge=1, le=2, description="Stride of the convolution: 1 | 2 (a quarter of the patches remains).")


class FramePoolingParams(Keys):
    """How the image features of a clip's frames, or of a product's photos, become one vector (photo = mean_pool)."""

    pooling: FramePoolingKind = Field(
        description="mean | attention (a learned weight for each frame). mean with 0 layers has no parameters."
    )
    layers: int = Field(
        ge=0,
        le=64,
        description="Layers of a transformer over the frames, before pooling; it alone reads their order. 0 = none.",
    )
    heads: Width = Field(description="Attention heads of these layers.")
    max_frames: Width = Field(description="Positions of these layers: the most frames that a product may have.")
    temperature: float = Field(gt=0, description="Temperature of the softmax over the frames' attention.")

    @property
    def trained(self) -> bool:
        """Return whether the pooling has parameters."""
        return self.pooling != "mean" or self.layers > 0


class ModelParams(Section):
    """Two towers, the joint embedding, and the classifier."""

    section: ClassVar[str] = "model"
    weights_root: FilePath = Field(
        description="Folder of local weights, a dependency of the stages that build a model. For names on a hub, set "
        "the empty folder data/weights."
    )
    image: ImageTowerParams
    text: TextTowerParams
    projector: ProjectorParams
    embedding_dim: Width = Field(description="Dimensions of the joint embedding.")
    fusion: FusionKind = Field(
        description="late (each tower is pooled on its own) | early (the tokens of both towers pass one shared "
        "transformer layer of width embedding_dim before pooling)."
    )
    fusion_heads: Width = Field(description="Attention heads of the layer of early fusion.")
    similarity: SimilarityKind = Field(description="Similarity of two embeddings: cosine | dot.")
    temperature: TemperatureKind = Field(
        description="Scale of the similarities: fixed | learned | per_direction (one learned scale for text to image, "
        "one for image to text)."
    )
    logit_scale: float | None = Field(
        ge=0,
        le=4.6052,
        description="Initial log of the scale; null = that of the checkpoint for two towers of one, else 2.6593, "
        "ln(1 / 0.07). A learned one is clipped to [0, ln 100].",
    )
    classifier: ClassifierParams
    text_vocabulary: VocabularyKind = Field(
        description="Token embeddings of the text tower: full | cut (only the tokens of the fold's training texts, the "
        "special tokens, and single letters for unknown words)."
    )
    missing_image: MissingImage = Field(
        description="Image features of a product without an image (see data.missing_image): black (the features of a "
        "black image) | learned (a learned vector)."
    )
    register_memory: RegisterMemoryParams
    positional_conv: PositionalConvParams
    frames: FramePoolingParams


class ImageSettings(Protocol):
    """What an image tower is resolved from: `ModelParams`, or `UntrainedImage`."""

    @property
    def image(self) -> ImageTowerParams:
        """Return the settings of the tower."""

    @property
    def fusion(self) -> FusionKind:
        """Return how it is fused with the text tower."""

    @property
    def embedding_dim(self) -> int:
        """Return the width of its new parts."""


class TextSettings(Protocol):
    """What a text tower is resolved from: `ModelParams`, or `UntrainedText`."""

    @property
    def text(self) -> TextTowerParams:
        """Return the settings of the tower."""

    @property
    def fusion(self) -> FusionKind:
        """Return how it is fused with the image tower."""


class UntrainedImage(NamedTuple):
    """An image tower before training; no one reads the output of its new parts, so they may have any width."""

    image: ImageTowerParams
    fusion: FusionKind
    embedding_dim: int = 1


class UntrainedText(NamedTuple):
    """A text tower before training."""

    text: TextTowerParams
    fusion: FusionKind
