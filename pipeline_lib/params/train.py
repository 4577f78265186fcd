"""How a model is trained: trainable layers, optimizer, augmentation, batches, and when to stop."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline_lib.params.section import Keys, Section
from pipeline_lib.params.values import Positive, Precision, ViewName

BestMetric = Literal[
    "MeanRecall", "R@1", "R@5", "R@10", "i2t_MeanRecall", "top1", "top3", "macro_f1", "balanced_accuracy", "loss"
]
ScheduleKind = Literal["cosine", "linear", "constant"]
MixKind = Literal["none", "mixup", "cutmix"]
TextViewName = Literal["none", "word_dropout", "random_swap"]
MiningKind = Literal["none", "hard"]
Depth = Annotated[int, Field(ge=0)] | Literal["all"]
TowerName = Literal["image", "text"]


class TowerFreezing(Keys):
    """Where one tower departs from `unfreeze_layers`."""

    unfreeze_layers: Depth | None
    freeze_first: Annotated[int, Field(ge=0)] | None
    embeddings: Literal["follow", "open", "frozen"]

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if self.unfreeze_layers is not None and self.freeze_first is not None:
            raise ValueError("unfreeze_layers and freeze_first are two ways to say one thing; set one of them to null")
        return self


class TowersFreezing(Keys):
    """Each tower's own rule."""

    image: TowerFreezing
    text: TowerFreezing


class TowersCheckpointing(Keys):
    """Whose activations the backward pass computes anew."""

    image: bool
    text: bool


class OpeningStep(Keys):
    """From this epoch on (the first is 0) so many of a tower's last layer groups are open."""

    epoch: Positive
    tower: TowerName
    layers: Positive | Literal["all"]


class TrainParams(Section):
    """One training run."""

    section: ClassVar[str] = "train"
    unfreeze_layers: Depth
    towers: TowersFreezing
    schedule: tuple[OpeningStep, ...]
    unfreeze_lr_scale: Annotated[float, Field(gt=0)]
    lr_decay: Annotated[float, Field(gt=0, le=1)]
    init_from: str
    init_heads: bool
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    epochs: Positive
    batch_size: Positive
    accumulate: Positive
    tower_lr: Annotated[float, Field(ge=0)]
    head_lr: Annotated[float, Field(ge=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    warmup_fraction: Annotated[float, Field(ge=0, le=1)]
    grad_checkpointing: TowersCheckpointing
    warmup_steps: Annotated[int, Field(ge=0)] | None
    lr_schedule: ScheduleKind
    clip_norm: Annotated[float, Field(ge=0)]
    batch_norm: Literal["batch", "running"]
    precision: Precision
    augment: ViewName
    crop_scale: Annotated[float, Field(gt=0, le=1)]
    text_augment: TextViewName
    text_augment_rate: Annotated[float, Field(ge=0, le=1)]
    photo: Literal["first", "random", "mean_pool"]
    mix: MixKind
    mix_alpha: Annotated[float, Field(gt=0)]
    mining: MiningKind
    mining_share: Annotated[float, Field(ge=0, lt=1)]
    text: Literal["first", "random"]
    use_stored_features: bool
    best_metric: BestMetric
    patience: Annotated[int, Field(ge=0)]
