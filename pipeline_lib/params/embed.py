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
        description="Share of the trained towers in the weights used for prediction; the rest are the towers before "
        "training (WiSE-FT). 1 = the trained towers only.",
    )
    precision: Precision = Field(description="Precision of the model: auto | fp32 | bf16 (see train.precision).")
