"""How trained models embed the catalogue."""

from typing import ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Section
from pipeline_lib.params.values import Precision


class EmbedParams(Section):
    """Embeddings and class probabilities of the held-out fold and of test."""

    section: ClassVar[str] = "embed"
    flip: bool = Field(description="true = average over the image and its horizontal flip.")
    photo: Literal["first", "mean_pool"] = Field(
        description="Image of a product with several: first | mean_pool (mean of the features of all)."
    )
    interpolation: float = Field(
        ge=0,
        le=1,
        description="Share of the trained weights in those used for prediction; the rest are the weights before "
        "training (WiSE-FT): the towers, and the heads if the run started from trained ones. 1 = the trained weights "
        "only, 0 = the start.",
    )
    precision: Precision = Field(
        description="Precision of the model: auto | fp32 | tf32 | fp16 | bf16 (see train.precision)."
    )
