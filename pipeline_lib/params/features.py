"""Stored features of frozen encoders."""

from typing import ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from pipeline_lib.params.section import Keys, Section, load_params, parse_value
from pipeline_lib.params.values import Precision, Seed, ViewName

StoredDtype = Literal["float16", "bfloat16", "float32"]
TrunkKind = Literal["pooled", "boundary", "tokens"]


class TrunkParams(Keys):
    """Stored outputs of the towers of `model` before training, so that training need not run their frozen layers."""

    at: TrunkKind = Field(
        description="pooled (each tower's output, for towers that stay frozen) | boundary (also the input of the last "
        "`layers` layer groups, for towers of which at most these are trained) | tokens (also the tokens, or cells of "
        "the last feature map, that the image tower pools, for composed retrieval)."
    )
    layers: int = Field(gt=0, description="Layer groups after the boundary, counted from the head.")
    augment: ViewName = Field(
        description="Augmented views of each image, stored beside the fixed one: none | jitter_flip | grayscale_blur | "
        "clip. Training reads a random one per epoch if train.augment (for clip also train.crop_scale) is the same."
    )
    crop_scale: float = Field(gt=0, le=1, description="Smallest fraction of the area that clip's random crop keeps.")
    views: int = Field(ge=1, le=64, description="Augmented views per image, 1 to 64.")
    view_seed: Seed = Field(
        description="Seed of these views. It is not train.seed, because a new one runs the towers again.",
    )

    @field_validator("views")
    @classmethod
    def _one_fixed_view(cls, views: int, info: ValidationInfo) -> int:
        if views > 1 and info.data.get("augment") == "none":
            raise ValueError("features.trunk.augment = none gives one view per image; set views = 1 or an augment")
        return views


class FeaturesParams(Section):
    """What frozen encoders (the towers before training, and teachers) give for every image and text, computed once."""

    section: ClassVar[str] = "features"
    dtype: StoredDtype = Field(
        description="Number format of stored features: float16 (values up to 65504) | bfloat16 | float32."
    )
    precision: Precision = Field(
        description="Precision of the encoders: auto | fp32 | tf32 | fp16 | bf16 (see train.precision)."
    )
    max_gb: float = Field(
        gt=0,
        description="The stage fails before it runs an encoder if the store would exceed this size in GB (1e9 bytes).",
    )
    teacher_words: bool = Field(
        description="true = teachers also store the embedding of every token of every text, which the score x_clip of "
        "losses.coarse_distillation compares."
    )
    trunk: TrunkParams


def planned_max_gb() -> float:
    """Return features.max_gb, a limit on what is written; no out depends on it, so it is no param of a stage."""
    return parse_value("features.max_gb", float, load_params())
