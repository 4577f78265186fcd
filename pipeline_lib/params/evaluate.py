"""How metrics and their confidence intervals are computed."""

from typing import ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Section

ProtocolName = Literal["catalogue", "muge", "five_caption", "row_paired"]


class EvaluateParams(Section):
    """Metrics and their confidence intervals."""

    section: ClassVar[str] = "evaluate"
    protocol: ProtocolName = Field(
        description="How ranks are counted: catalogue | muge (both: hit rates over all correct answers) | five_caption "
        "(the same, with mR, total mR and the sum over both directions) | row_paired (as old logs did, only to compare "
        "with them: it understates R@1 about five times)."
    )
    bootstrap: int = Field(
        ge=100,
        description="Resamples of the bootstrap-t interval of the mean rank. The other intervals are not resampled.",
    )
    seed: int = Field(
        ge=0,
        description="Seed of these resamples, and of the products that the nearest-neighbour baseline draws from a "
        "large catalogue.",
    )
