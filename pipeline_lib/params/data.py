"""Where the catalogue comes from and how it is cleaned."""

from typing import ClassVar, Literal

from pydantic import Field

from pipeline_lib.params.section import Keys, Section
from pipeline_lib.params.values import FilePath, InnerFile, InnerFolder, Name

ReaderKind = Literal["csv_table", "muge", "karpathy", "captions_csv", "msr_vtt", "cirr", "fashion_iq", "circo"]


class ColumnParams(Keys):
    """Names of the table's columns; null = found by the usual names."""

    id: Name | None = Field(description="Product id, unique in the table.")
    label: Name | None = Field(description="Class of the product. A row without one still trains retrieval.")
    image: Name | None = Field(description="Path of the image, relative to root.")
    video: Name | None = Field(
        description="Path of the clip, relative to root or to image_folder, with or without its ending. captions_csv "
        "finds a column video, too; csv_table reads clips only if this names their column."
    )
    group: Name | None = Field(
        description="Products of one group stay in the same fold; data.group_level says what else."
    )
    fold: Name | None = Field(description="Number of the fold, if the table assigns folds itself.")
    split: Name | None = Field(description="train | val | test, if the table assigns splits itself.")
    text: Name | list[Name] | None = Field(description="One column or a list of columns, joined in this order.")
    attributes: Name | list[Name] | None = Field(
        description="Numeric columns that a search filters by, such as the price; csv_table alone reads them. "
        "[] = none."
    )


class DataParams(Section):
    """The raw catalogue, and when a row is rejected."""

    section: ClassVar[str] = "data"
    root: FilePath = Field(
        description="Folder with one table and its images. Track it with `dvc add`, or let a dvc.yaml produce it.",
    )
    reader: ReaderKind = Field(
        description="Format of the catalogue: csv_table (one row per product) | muge (MUGE or Chinese-CLIP files) | "
        "karpathy (COCO, Flickr30k: dataset_*.json) | captions_csv (one row per caption) | msr_vtt (clips with "
        "captions: MSRVTT_data.json) | cirr | fashion_iq | circo (composed queries: a picture and a sentence)."
    )
    table: InnerFile | None = Field(
        description="File name of the table inside root; null = the only .csv there that no other setting names."
    )
    queries: InnerFile | None = Field(
        description="CSV inside root with composed queries, a reference product and a text, for the products: columns "
        "query_id, reference_id, text, target_id, and optionally grade, subset, split, slice; null = none."
    )
    train_videos: InnerFile | None = Field(
        description="CSV inside root that lists the clips to train on, for the reader msr_vtt: column video_id; null = "
        "those whose split in the JSON is train or validate."
    )
    test_videos: InnerFile | None = Field(
        description="CSV inside root that lists the clips of test, for the reader msr_vtt: columns video_id and "
        "optionally sentence, the captions to test with; null = those whose split in the JSON is test."
    )
    sample_submission: InnerFile | None = Field(
        description="CSV inside root that gives submission.csv its ids, their order and its two column names; "
        "null = all test products with the columns id and label."
    )
    image_folder: InnerFolder = Field(
        description="Folder inside root with images named <id>.<ext> or <id>_*.<ext>; used if the table has no image "
        "column."
    )
    duplicate_bits: int = Field(
        ge=-1,
        le=32,
        description="Photos whose 128-bit perceptual hashes differ in at most this many bits are compared pixel by "
        "pixel, and may group their products; -1 = off.",
    )
    placeholder_products: int = Field(
        ge=1,
        description='A photo of more than this many products (a logo, a size chart, "no image") is a placeholder: it '
        "groups nothing.",
    )
    group_level: Literal["same", "fold"] = Field(
        description="What a group of the table's group column is: same (one thing: in one fold, right answers to "
        "each other's texts, no negatives of each other) | fold (in one fold, and that is all)."
    )
    missing_image: Literal["reject", "black"] = Field(
        description="Products without a readable image: reject (they are left out) | black (they get a black image)."
    )
    max_pixels: int = Field(gt=0, description="Images with more pixels than this are rejected before they are decoded.")
    max_reject_fraction: float = Field(
        ge=0, le=1, description="The stage fails if a larger fraction of the rows is rejected."
    )
    columns: ColumnParams
