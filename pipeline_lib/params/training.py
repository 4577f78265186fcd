"""How a model is trained: losses and their weights, what opens, optimizer, views, and when to stop."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Keys, Section

BestMetric = Literal["MeanRecall", "R@1", "top1", "loss"]
ViewName = Literal["none", "clip", "jitter_flip", "grayscale_blur"]
TextViewName = Literal["none", "word_dropout", "random_swap"]
Weight = Annotated[float, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]


class InfoNCEParams(Keys):
    """Symmetric contrastive loss over the batch."""

    weight: Weight
    mask_false_negatives: bool


class CrossEntropyParams(Keys):
    """Classification loss over labelled products."""

    weight: Weight
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]


class LossesParams(Section):
    """Every loss with its weight; weight 0 takes it, and the head only it trains, away."""

    section: ClassVar[str] = "losses"
    info_nce: InfoNCEParams
    cross_entropy: CrossEntropyParams


class TrainParams(Section):
    """One training run."""

    section: ClassVar[str] = "train"
    unfreeze_layers: Annotated[int, Field(ge=0)] | Literal["all"]
    epochs: Positive
    batch_size: Positive
    accumulate: Positive
    tower_lr: Annotated[float, Field(ge=0)]
    head_lr: Annotated[float, Field(ge=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    warmup_fraction: Annotated[float, Field(ge=0, le=1)]
    clip_norm: Annotated[float, Field(ge=0)]
    precision: Literal["auto", "fp32", "bf16"]
    augment: ViewName
    crop_scale: Annotated[float, Field(gt=0, le=1)]
    text_augment: TextViewName
    text_augment_rate: Annotated[float, Field(ge=0, le=1)]
    photo: Literal["first", "random"]
    use_stored_features: bool
    best_metric: BestMetric
    patience: Annotated[int, Field(ge=0)]
