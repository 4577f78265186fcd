"""The losses, with their weights and settings."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline_lib.params.section import Keys, Section
from pipeline_lib.params.values import Positive

ClassWeights = Literal["none", "balanced", "effective_number"]
Reduction = Literal["sum", "mean"]
TripletNegatives = Literal["all", "hardest"]
HardNegativesChoice = Literal["hardest", "semi_hard", "band"]
HardNegativesForm = Literal["contrastive", "margin"]
FeatureDistance = Literal["cosine", "mse"]
VideoScore = Literal["mean", "x_clip", "ts2_net"]
Weight = Annotated[float, Field(ge=0, description="Weight of this loss in the total; 0 = off.")]
MaskFalseNegatives = Annotated[
    bool,
    Field(description="true = texts of the same product or group, and equal texts, are never negatives of each other."),
]
TeacherShares = Annotated[
    dict[str, Annotated[float, Field(gt=0)]],
    Field(
        description="Share of each teacher in the mean over teachers, e.g. {big: 2, old: 1}; {} = all teachers of "
        "plan.teachers, equally."
    ),
]


class InfoNCEParams(Keys):
    """InfoNCE: symmetric contrastive loss over the batch, as in CLIP."""

    weight: Weight
    mask_false_negatives: MaskFalseNegatives


class CrossEntropyParams(Keys):
    """Cross-entropy of the classifier over products with a label."""

    weight: Weight
    label_smoothing: float = Field(ge=0, lt=1, description="Label smoothing; 0 = none.")
    class_weights: ClassWeights = Field(
        description="Weight of each class, computed from the fold's training labels: none | balanced (each class "
        "counts the same) | effective_number (between the two)."
    )
    beta: float = Field(ge=0, lt=1, description="For effective_number: 0 = no weighting, close to 1 = balanced.")
    focal_gamma: float = Field(ge=0, description="Focal loss: down-weights easy examples; 0 = off.")


class TripletParams(Keys):
    """Triplet loss with a margin, in both directions (VSE++)."""

    weight: Weight
    margin: float = Field(ge=0, description="Margin between the similarities of positive and negative pairs.")
    negatives: TripletNegatives = Field(description="all | hardest (one negative for each image and each text).")
    reduction: Reduction = Field(
        description="sum | mean over the triplets. The sum grows with the square of the batch size, so use lower "
        "learning rates with it."
    )
    mask_false_negatives: MaskFalseNegatives


class SigLIPParams(Keys):
    """SigLIP: pairwise sigmoid loss with a learned bias."""

    weight: Weight
    bias: float | None = Field(
        description="Initial value of the learned bias; null = that of the checkpoint for two towers of one, else -10. "
        "The paper uses -10 with model.logit_scale 2.3026."
    )
    mask_false_negatives: MaskFalseNegatives


class MemoryQueueParams(Keys):
    """InfoNCE with a queue of past embeddings as more negatives; use it instead of info_nce."""

    weight: Weight
    size: Annotated[int, Field(gt=0, le=2**24)] = Field(description="Embeddings in the queue, for each modality.")
    start_epoch: int = Field(
        ge=0,
        description="First epoch (from 0) in which the queue adds negatives. It fills from the first step on, but "
        "early embeddings are soon out of date.",
    )
    momentum: float = Field(
        ge=0,
        lt=1,
        description="0 = the queue holds the model's own past embeddings (XBM). Above 0 it holds those of a momentum "
        "encoder (MoCo) with this decay, typically 0.995, which costs one more forward pass per step.",
    )
    mask_false_negatives: bool = Field(
        description="true = queue entries of the same product, group or text are masked as well. With false, a product "
        "is pushed away from its own past embedding."
    )


class HardNegativesParams(Keys):
    """Loss over selected negatives of the batch."""

    weight: Weight
    negatives: HardNegativesChoice = Field(
        description="Which negatives count: hardest | semi_hard (less similar than the positive, by at most margin) | "
        "band (those ranked band_from to band_to by similarity)."
    )
    form: HardNegativesForm = Field(
        description="contrastive (softmax over the positive and these negatives) | margin (hinge with margin)."
    )
    margin: float = Field(ge=0, description="Margin of semi_hard and of the form margin.")
    band_from: Positive = Field(description="First rank of band; 1 = the most similar negative.")
    band_to: Positive = Field(description="Last rank of band.")
    mask_false_negatives: MaskFalseNegatives

    @model_validator(mode="after")
    def _band_is_a_span(self) -> Self:
        if self.band_to < self.band_from:
            raise ValueError(f"band_from = {self.band_from} is greater than band_to = {self.band_to}; swap them")
        return self


class HeadAlignmentParams(Keys):
    """Mean squared distance of matched pairs; use it beside a contrastive loss, or with uniformity."""

    weight: Weight
    uniformity: float = Field(
        ge=0, description="Weight of the term that spreads the embeddings of each modality out; 0 = off."
    )
    mask_false_negatives: MaskFalseNegatives


class ContrastiveDistillationParams(Keys):
    """Distillation: the teachers' similarities within the batch are the targets (plan.teachers names them)."""

    weight: Weight
    teachers: TeacherShares


class FeatureDistillationParams(Keys):
    """Distillation: distance of the embeddings from those of the teachers."""

    weight: Weight
    distance: FeatureDistance = Field(
        description="cosine | mse. If the embeddings have different dimensions, a learned linear layer maps them."
    )
    teachers: TeacherShares


class ClassDistillationParams(Keys):
    """Distillation: KL divergence from the teachers' class probabilities."""

    weight: Weight
    temperature: float = Field(
        gt=0, description="Divides the logits of student and teacher; the loss is multiplied by its square."
    )
    teachers: TeacherShares


class CoarseDistillationParams(Keys):
    """Distillation for clips: correlation of the batch's text-clip probabilities with the teachers' (TeachCLIP: 1)."""

    weight: Weight
    score: dict[str, VideoScore] = Field(
        description="How each teacher scores a text and a clip from its stored frames, e.g. {big: x_clip}: mean (of "
        "the frames) | x_clip (also compares words; needs features.teacher_words) | ts2_net (the text weights the "
        "frames); {} = mean for all."
    )
    teachers: TeacherShares


class FrameDistillationParams(Keys):
    """Distillation for clips: the frame attention follows the teachers' cosines of text and frame (TeachCLIP: 2)."""

    weight: Weight
    teachers: TeacherShares


class LossesParams(Section):
    """The training loss is the weighted sum of these losses. A head that only losses of weight 0 use is not built."""

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
    coarse_distillation: CoarseDistillationParams
    frame_distillation: FrameDistillationParams
