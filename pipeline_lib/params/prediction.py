"""How frozen encoders and trained models are run over the catalogue."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Keys, Section

Precision = Literal["auto", "fp32", "bf16"]


class TrunkParams(Keys):
    """What is kept of the model's own towers; `layers` counts layer groups from the head, for `at: boundary`."""

    at: Literal["pooled", "boundary"]
    layers: Annotated[int, Field(gt=0)]


class FeaturesParams(Section):
    """Stored features of frozen encoders; `max_gb` is in 1e9 bytes."""

    section: ClassVar[str] = "features"
    dtype: Literal["float16", "bfloat16", "float32"]
    precision: Precision
    max_gb: Annotated[float, Field(gt=0)]
    trunk: TrunkParams


class EmbedParams(Section):
    """Views and photos that a product's embedding is averaged over."""

    section: ClassVar[str] = "embed"
    flip: bool
    photo: Literal["first", "mean_pool"]
    interpolation: Annotated[float, Field(ge=0, le=1)]
    precision: Precision
