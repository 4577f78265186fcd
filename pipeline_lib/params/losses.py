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
# Teacher -> share of the mean over teachers; none = all of plan.features, equally.
TeacherShares = dict[str, Annotated[float, Field(gt=0)]]
Weight = Annotated[float, Field(ge=0)]
Margin = Annotated[float, Field(ge=0)]


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
