"""How products are dealt into test and folds."""

from typing import Annotated, ClassVar

from pydantic import Field

from pipeline_lib.params.section import Section


class SplitParams(Section):
    """How products are dealt into test and folds."""

    section: ClassVar[str] = "split"
    num_folds: Annotated[int, Field(ge=1)]
    test_fraction: Annotated[float, Field(ge=0, lt=1)]
