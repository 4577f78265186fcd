"""How products are assigned to the test split and to folds."""

from typing import ClassVar

from pydantic import Field

from pipeline_lib.params.section import Section
from pipeline_lib.params.values import FilePath, Seed


class SplitParams(Section):
    """Assignment of products to the test split and to folds: stratified by label, groups never split up."""

    section: ClassVar[str] = "split"
    seed: Seed = Field(description="Seed of the assignment. Training has its own, train.seed.")
    num_folds: int = Field(ge=1, le=1000, description="Number of folds that the training products are split into.")
    test_fraction: float = Field(
        ge=0,
        lt=1,
        description="Fraction of the products held out as test split; used if the table has no split and no fold "
        "column.",
    )
    group_by_text: bool = Field(
        description="true = products with equal texts (but for case, accents, spaces and punctuation) stay in one fold."
    )
    assignment: FilePath = Field(
        description="A .parquet or .csv file with the columns product_id, split (train | test) and fold: the products "
        "it names stay where it puts them, new ones are assigned around them. `vitrine split freeze NAME` writes "
        "data/splits/NAME.parquet. The empty folder data/splits/none = off."
    )
