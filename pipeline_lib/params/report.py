"""What the report shows."""

from typing import ClassVar

from pydantic import Field

from pipeline_lib.params.section import Section
from pipeline_lib.params.values import Seed


class ReportParams(Section):
    """Sizes of the report's galleries."""

    section: ClassVar[str] = "report"
    queries: int = Field(ge=0, description="Example queries shown with their results.")
    misses: int = Field(
        ge=0, description="Worst-ranked queries, most confident mistakes and doubtful labels shown, of each this many."
    )
    attention: int = Field(
        ge=0,
        description="Example queries whose photos are shown with a map of where the image tower looks; the model of "
        "one fold is loaded for it. 0 = none.",
    )
    seed: Seed = Field(description="Seed of the choice of example queries.")
