"""How trained models embed the catalogue."""

from typing import ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Section
from pipeline_lib.params.values import Precision


class EmbedParams(Section):
    """Embeddings and class probabilities of the held-out fold and of test."""

    section: ClassVar[str] = "embed"
    flip: bool = Field(description="true = average over the image and its horizontal flip.")
    stored_views: bool = Field(
        description="true = the layers of the image tower that no run trains see each image once for all folds: the "
        "stage `views` stores what they give, for each size of plan.scales (and with flip also for the flipped image). "
        "For runs with features.trunk that leave the image tower frozen, or train only its last layers."
    )
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
    query_bank: int = Field(
        ge=0,
        description="Training texts that are embedded beside the products, as the bank of evaluate.hubness: 0 = none, "
        "a number = at most so many, chosen by a hash of their ids.",
    )
