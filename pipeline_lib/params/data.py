"""Where the catalogue comes from and how it is cleaned."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Keys, Section

ReaderKind = Literal["csv_table", "muge", "karpathy", "captions_csv"]


class ColumnParams(Keys):
    """Names of the table's columns; None is inferred from the usual names."""

    id: str | None
    label: str | None
    text: str | list[str] | None
    image: str | None
    group: str | None
    fold: str | None
    split: str | None


class DataParams(Section):
    """The raw catalogue and the limits it must keep."""

    section: ClassVar[str] = "data"
    root: str
    reader: ReaderKind
    table: str | None
    sample_submission: str | None
    image_folder: str
    columns: ColumnParams
    duplicate_bits: Annotated[int, Field(ge=-1, le=7)]
    missing_image: Literal["reject", "black"]
    max_pixels: Annotated[int, Field(gt=0)]
    max_reject_fraction: Annotated[float, Field(ge=0, le=1)]
