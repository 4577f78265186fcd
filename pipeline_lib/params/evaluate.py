"""How metrics and their confidence intervals are computed."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Section

ProtocolName = Literal["catalogue", "muge", "five_caption", "row_paired"]


class EvaluateParams(Section):
    """How ranks are counted and the intervals made."""

    section: ClassVar[str] = "evaluate"
    protocol: ProtocolName
    bootstrap: Annotated[int, Field(ge=100)]
