"""How trained models embed the catalogue."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Section
from pipeline_lib.params.values import Precision


class EmbedParams(Section):
    """Views and photos that a product's embedding is averaged over."""

    section: ClassVar[str] = "embed"
    flip: bool
    photo: Literal["first", "mean_pool"]
    interpolation: Annotated[float, Field(ge=0, le=1)]
    precision: Precision
