"""What the report shows."""

from typing import Annotated, ClassVar

from pydantic import Field

from pipeline_lib.params.section import Section


class ReportParams(Section):
    """How many queries the gallery shows, and how many of the worst misses."""

    section: ClassVar[str] = "report"
    queries: Annotated[int, Field(ge=0)]
    misses: Annotated[int, Field(ge=0)]
