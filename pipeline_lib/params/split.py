"""How products are assigned to the test split and to folds."""

from typing import ClassVar

from pydantic import Field

from pipeline_lib.params.section import Section


class SplitParams(Section):
    """Assignment of products to the test split and to folds: stratified by label, groups never split up."""

    section: ClassVar[str] = "split"
    num_folds: int = Field(ge=1, description="Number of folds that the training products are split into.")
    test_fraction: float = Field(
        ge=0,
        lt=1,
        description="Fraction of the products held out as test split; used if the table has no split and no fold "
        "column.",
    )
