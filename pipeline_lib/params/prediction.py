"""How frozen encoders and trained models are run over the catalogue."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Section

Precision = Literal["auto", "fp32", "bf16"]


class FeaturesParams(Section):
    """Stored features of frozen encoders."""

    section: ClassVar[str] = "features"
    dtype: Literal["float16", "float32"]
    precision: Precision


class EmbedParams(Section):
    """Views and photos that a product's embedding is averaged over."""

    section: ClassVar[str] = "embed"
    flip: bool
    photo: Literal["first", "mean_pool"]
    interpolation: Annotated[float, Field(ge=0, le=1)]
    precision: Precision
