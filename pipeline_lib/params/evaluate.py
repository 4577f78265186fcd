"""How metrics and their confidence intervals are computed."""

from typing import ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Keys, Section
from pipeline_lib.params.values import Seed

HubnessKind = Literal["inverted_softmax", "dual_softmax", "qb_norm"]
# Corrections that need the embedded texts of embed.query_bank.
BANK_KINDS = ("inverted_softmax", "qb_norm")
ProtocolName = Literal["catalogue", "muge", "five_caption", "row_paired"]
ProjectionKind = Literal["pca", "umap"]


class HubnessTemperatures(Keys):
    """Temperatures of the corrections, in units of the similarity; at a lower one only the nearest queries count."""

    inverted_softmax: float = Field(gt=0, description="Temperature of the inverted softmax.")
    dual_softmax: float = Field(gt=0, description="Temperature of the dual softmax: 0.01 is CLIP's logit scale of 100.")
    qb_norm: float = Field(gt=0, description="Temperature of QB-Norm: 0.05 is the 1/20 of its authors.")


class EvaluateParams(Section):
    """Metrics and their confidence intervals."""

    section: ClassVar[str] = "evaluate"
    protocol: ProtocolName = Field(
        description="How ranks are counted: catalogue | muge (both: hit rates over all correct answers) | five_caption "
        "(the same, with mR, total mR and the sum over both directions) | row_paired (as old logs did, only to compare "
        "with them: it understates R@1 about five times)."
    )
    hubness: list[HubnessKind] = Field(
        description="Corrections of products that stand first for too many queries, measured beside the plain figures: "
        "inverted_softmax, qb_norm (both by a bank of training texts, embed.query_bank; text -> image) | dual_softmax "
        "(by all test queries at once, which a search does not have; both directions). [] = none."
    )
    hubness_temperature: HubnessTemperatures
    projection: ProjectionKind = Field(
        description="How the report's map of embeddings becomes flat: pca (keeps distances, shows the gap between "
        "photos and texts) | umap (keeps neighbours; needs the package umap-learn)."
    )
    bootstrap: int = Field(
        ge=100,
        le=1_000_000,
        description="Resamples of the bootstrap-t interval of the mean rank. The other intervals are not resampled.",
    )
    seed: Seed = Field(
        description="Seed of these resamples, of the products that the nearest-neighbour baseline draws from a large "
        "catalogue, and of the pairs and points that the figures and plots of the embeddings draw.",
    )
