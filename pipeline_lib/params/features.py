"""Stored features of frozen encoders."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from pipeline_lib.params.section import Keys, Section
from pipeline_lib.params.values import Precision, ViewName


class TrunkParams(Keys):
    """What is kept of the model's own towers; `layers` counts layer groups from the head, for `at: boundary`.

    Beside the fixed view of each photo, `views` of `augment` are kept, drawn with `view_seed`.
    """

    at: Literal["pooled", "boundary"]
    layers: Annotated[int, Field(gt=0)]
    augment: ViewName
    crop_scale: Annotated[float, Field(gt=0, le=1)]
    views: Annotated[int, Field(ge=1, le=64)]
    view_seed: Annotated[int, Field(ge=0)]

    @field_validator("views")
    @classmethod
    def _one_fixed_view(cls, views: int, info: ValidationInfo) -> int:
        if views > 1 and info.data.get("augment") == "none":
            raise ValueError("features.trunk.augment = none is one view of a photo; set views = 1, or an augment")
        return views


class FeaturesParams(Section):
    """Stored features of frozen encoders; `max_gb` is in 1e9 bytes."""

    section: ClassVar[str] = "features"
    dtype: Literal["float16", "bfloat16", "float32"]
    precision: Precision
    max_gb: Annotated[float, Field(gt=0)]
    trunk: TrunkParams
