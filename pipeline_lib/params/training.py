"""How a model is trained: losses and their weights, what opens, optimizer, views, and when to stop."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline_lib.params.section import Keys, Section

BestMetric = Literal[
    "MeanRecall", "R@1", "R@5", "R@10", "i2t_MeanRecall", "top1", "top3", "macro_f1", "balanced_accuracy", "loss"
]
ScheduleKind = Literal["cosine", "linear", "constant"]
MixKind = Literal["none", "mixup", "cutmix"]
ClassWeights = Literal["none", "balanced", "effective_number"]
ViewName = Literal["none", "clip", "jitter_flip", "grayscale_blur"]
TextViewName = Literal["none", "word_dropout", "random_swap"]
MiningKind = Literal["none", "hard"]
Reduction = Literal["sum", "mean"]
TripletNegatives = Literal["all", "hardest"]
HardNegativesChoice = Literal["hardest", "semi_hard", "band"]
HardNegativesForm = Literal["contrastive", "margin"]
FeatureDistance = Literal["cosine", "mse"]
# Teacher -> share of the mean over teachers; none = all of plan.features, equally.
TeacherShares = dict[str, Annotated[float, Field(gt=0)]]
Weight = Annotated[float, Field(ge=0)]
Margin = Annotated[float, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Depth = Annotated[int, Field(ge=0)] | Literal["all"]
TowerName = Literal["image", "text"]


class InfoNCEParams(Keys):
    """Symmetric contrastive loss over the batch."""

    weight: Weight
    mask_false_negatives: bool


class CrossEntropyParams(Keys):
    """Classification loss over labelled products."""

    weight: Weight
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    class_weights: ClassWeights
    beta: Annotated[float, Field(ge=0, lt=1)]
    focal_gamma: Annotated[float, Field(ge=0)]


class TripletParams(Keys):
    """Triplet loss of caption retrieval."""

    weight: Weight
    margin: Margin
    negatives: TripletNegatives
    reduction: Reduction
    mask_false_negatives: bool


class SigLIPParams(Keys):
    """Pairwise sigmoid loss, and where its learned bias starts."""

    weight: Weight
    bias: float
    mask_false_negatives: bool


class MemoryQueueParams(Keys):
    """InfoNCE whose negatives are the batch and a queue of past embeddings."""

    weight: Weight
    size: Positive
    start_epoch: Annotated[int, Field(ge=0)]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    mask_false_negatives: bool


class HardNegativesParams(Keys):
    """A loss over chosen negatives of the batch."""

    weight: Weight
    negatives: HardNegativesChoice
    form: HardNegativesForm
    margin: Margin
    band_from: Positive
    band_to: Positive
    mask_false_negatives: bool

    @model_validator(mode="after")
    def _band_is_a_span(self) -> Self:
        if self.band_to < self.band_from:
            raise ValueError(f"band_from = {self.band_from} lies beyond band_to = {self.band_to}; swap them")
        return self


class HeadAlignmentParams(Keys):
    """Distance of matched pairs in the joint space, and the share of uniformity."""

    weight: Weight
    uniformity: Annotated[float, Field(ge=0)]
    mask_false_negatives: bool


class ContrastiveDistillationParams(Keys):
    """The teacher's similarities of a batch as the student's targets."""

    weight: Weight
    teachers: TeacherShares


class FeatureDistillationParams(Keys):
    """Distance of the student's embeddings from the teacher's."""

    weight: Weight
    distance: FeatureDistance
    teachers: TeacherShares


class ClassDistillationParams(Keys):
    """The teacher's class probabilities as the student's targets."""

    weight: Weight
    temperature: Annotated[float, Field(gt=0)]
    teachers: TeacherShares


class LossesParams(Section):
    """Every loss with its weight; weight 0 takes it, and the head only it trains, away."""

    section: ClassVar[str] = "losses"
    info_nce: InfoNCEParams
    cross_entropy: CrossEntropyParams
    triplet: TripletParams
    siglip: SigLIPParams
    memory_queue: MemoryQueueParams
    hard_negatives: HardNegativesParams
    head_alignment: HeadAlignmentParams
    contrastive_distillation: ContrastiveDistillationParams
    feature_distillation: FeatureDistillationParams
    class_distillation: ClassDistillationParams


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
    precision: Literal["auto", "fp32", "bf16"]
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
