"""Where the catalogue comes from and how it is cleaned."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Keys, Section

ReaderKind = Literal["csv_table"]


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
    image_folder: str
    columns: ColumnParams
    duplicate_bits: Annotated[int, Field(ge=-1, le=7)]
    missing_image: Literal["reject", "black"]
    max_pixels: Annotated[int, Field(gt=0)]
    max_reject_fraction: Annotated[float, Field(ge=0, le=1)]


class SplitParams(Section):
    """How products are dealt into test and folds."""

    section: ClassVar[str] = "split"
    num_folds: Annotated[int, Field(ge=1)]
    test_fraction: Annotated[float, Field(ge=0, lt=1)]


class ShardsParams(Section):
    """How photos are stored."""

    section: ClassVar[str] = "shards"
    size: Annotated[int, Field(gt=0)]
    quality: Annotated[int, Field(ge=1, le=100)]
    photos_per_shard: Annotated[int, Field(gt=0)]
