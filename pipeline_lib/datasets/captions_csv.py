"""Reads a CSV file with one caption per row: columns image or video, caption and optionally split, slice and subset.

All rows of an image or a clip are one product with several captions; they need not be adjacent. The column slice names
the slices of the queries that a caption is in, and subset its hard negatives, images or clips that it is also ranked
among, both with bars between them.
"""

from dataclasses import replace
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.messages import show
from pipeline_lib.catalogue.schema import REJECTED, STRINGS, Records, rejects_of
from pipeline_lib.catalogue.strings import clean
from pipeline_lib.datasets.captions import captioned_records, image_id
from pipeline_lib.datasets.clip_names import clip_folder, with_endings
from pipeline_lib.datasets.columns import SPLIT_ADVICE, SPLIT_NAMES
from pipeline_lib.datasets.exports import heading
from pipeline_lib.datasets.table_file import Table, find_table, listing, not_read, open_table, read_columns
from pipeline_lib.params.data import DataParams

USUAL = {
    "image": ("image", "image_path", "filename", "file_name", "image_name"),
    "video": ("video", "video_path", "video_name", "video_id", "clip"),
    "text": ("caption", "text", "comment", "sentence"),
    "split": ("split",),
    "slice": ("slice",),
    "subset": ("subset",),
}
UNITS = {"image": "photos", "video": "clips"}


def read_captions_csv(data: DataParams) -> Records:
    """Return the records of the CSV in data.root; ValueError with the file, row and value of a fault."""
    root = Path(data.root)
    table = open_table(find_table(root, data.table, others=(data.queries, data.sample_submission)))
    columns = _columns(table, data)
    raw, rejects = read_columns(table, [name for name in columns.values() if name])
    split = clean(pl.col(columns["split"])).fill_null("") if columns["split"] else pl.lit("train")
    shown = "video" if columns["video"] else "image"
    rows = raw.select(
        "row",
        pl.col(columns[shown]).alias("image"),
        pl.col(columns["text"]).fill_null("").alias("caption"),
        *(
            (pl.col(columns[role]) if columns[role] else pl.lit(None, pl.String)).alias(name)
            for role, name in (("slice", "slices"), ("subset", "subset"))
        ),
        split.alias("raw_split"),
    )
    known = pl.col("raw_split").str.to_lowercase().replace_strict(SPLIT_NAMES, default=None, return_dtype=pl.String)
    rows = rows.with_columns(known.alias("split") if columns["split"] else pl.lit(None, pl.String).alias("split"))
    nameless = rows.filter(pl.col("image").is_null()).with_columns(pl.lit(None, pl.String).alias("product_id"))
    rows = rows.drop_nulls("image")
    rows = rows.with_columns(pl.Series("path", [image_id(image) for image in rows["image"]], pl.String))
    _check_splits(table.path, rows, columns["split"])
    rows = rows.with_columns(_subsets(table.path, rows, shown))
    images = rows.group_by("path", maintain_order=True).agg(
        pl.col("row", "image", "split").first(), pl.col("caption").alias("captions"), pl.col("slices", "subset")
    )
    folder = data.image_folder
    if shown == "video":
        folder = clip_folder(root, folder)
        images = images.with_columns(
            pl.col("path").alias("product_id"),
            pl.Series("image", with_endings(images["image"], root, folder), pl.String),
        )
    name = table.path.name
    records = captioned_records(name, images.drop("path"), root, folder, UNITS[shown])
    unnamed = rejects_of(name, nameless, f"empty {shown} name", "caption", REJECTED)
    return replace(
        records,
        num_rows=records.num_rows + len(nameless) + rejects.filter(pl.col("action") == REJECTED).height,
        rejects=pl.concat([rejects, records.rejects, unnamed]),
        columns={role: one for role, one in columns.items() if one},
        ignored=not_read(table.header, set(columns.values())),
    )


def _columns(table: Table, data: DataParams) -> dict[str, str]:
    """Return the names of the columns by role, "" for one that the table need not have; of image and video one is."""
    by_heading = {heading(name): name for name in reversed(table.header)}
    names = {}
    for role, usual in USUAL.items():
        named = getattr(data.columns, role, None)
        if isinstance(named, list):
            raise ValueError(f"{table.path}: data.columns.text = {named!r}; a caption is one column, so name only one")
        chosen = named or next((by_heading[name] for name in usual if name in by_heading), "")
        if (not chosen or chosen not in table.header) and (named or role == "text"):  # a heading may be empty
            raise _missing(table, role, named or " or ".join(usual))
        names[role] = chosen
    if data.columns.image and data.columns.video:
        raise ValueError(f"{table.path}: a caption is that of an image or of a clip; name data.columns.image or .video")
    if not names["image"] and not names["video"]:
        raise _missing(table, "image", " or ".join(USUAL["image"]))
    unused = "image" if data.columns.video or not names["image"] else "video"
    return names | {unused: ""}


def _subsets(path: Path, rows: pl.DataFrame, shown: str) -> pl.Series:
    """Return the product ids of each row's subset; ValueError for a name that no row has as its image or video."""
    known, subsets = set(rows["path"]), []
    for row, cell in rows.select("row", "subset").iter_rows():
        named = list(dict.fromkeys(one for part in (cell or "").split("|") if (one := image_id(part))))
        if strange := next((one for one in named if one not in known), None):
            raise ValueError(
                f"{path}: row {row}: subset names {show(strange)}, which is the {shown} of no row; write it as there"
            )
        subsets.append(named)
    return pl.Series("subset", subsets, STRINGS)


def _missing(table: Table, role: str, name: str) -> ValueError:
    return ValueError(
        f"{table.path}: no column {name!r} for data.columns.{role}; columns found: {listing(table.header)}. "
        f"Name it in data.columns.{role}"
    )


def _check_splits(path: Path, rows: pl.DataFrame, column: str) -> None:
    if not column:
        return
    wrong = rows.filter(pl.col("split").is_null())
    if len(wrong):
        row, value = wrong.select("row", "raw_split").row(0)
        raise ValueError(f"{path}: row {row}: {column} = {show(value)}; {SPLIT_ADVICE}")
    divided = rows.filter(pl.col("split") != pl.col("split").first().over("path"))
    if len(divided):
        row, image, value = divided.select("row", "image", "raw_split").row(0)
        raise ValueError(
            f"{path}: row {row}: {column} = {show(value)}, but an earlier row has {image} in another split"
        )
