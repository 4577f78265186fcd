"""Reads a CSV file with one caption per row: columns image, caption and, if the data set has splits, split.

All rows of an image are one product with several captions; they need not be adjacent.
"""

from pathlib import Path

import polars as pl

from pipeline_lib.catalogue.schema import REJECTED, Records, rejects_of
from pipeline_lib.datasets.captions import captioned_records
from pipeline_lib.datasets.columns import SPLIT_NAMES
from pipeline_lib.datasets.table_file import check_utf8, find_table, read_columns, read_header
from pipeline_lib.params.data import DataParams

USUAL = {"image": ("image", "image_path", "filename"), "text": ("caption", "text"), "split": ("split",)}


def read_captions_csv(data: DataParams) -> Records:
    """Return the records of the CSV in data.root; ValueError with the file, row and value of a fault."""
    root = Path(data.root)
    path = find_table(root, data.table)
    check_utf8(path)
    header = read_header(path)
    columns = _columns(path, header, data)
    raw = read_columns(path, header, [name for name in columns.values() if name])
    rows = raw.select(
        "row",
        pl.col(columns["image"]).str.replace_all("\\", "/", literal=True).alias("image"),
        pl.col(columns["text"]).fill_null("").alias("caption"),
        pl.col(columns["split"]).fill_null("").alias("raw_split")
        if columns["split"]
        else pl.lit("train").alias("raw_split"),
    )
    known = pl.col("raw_split").str.to_lowercase().replace_strict(SPLIT_NAMES, default=None, return_dtype=pl.String)
    rows = rows.with_columns(known.alias("split") if columns["split"] else pl.lit(None, pl.String).alias("split"))
    nameless = rows.filter(pl.col("image").is_null()).with_columns(pl.lit(None, pl.String).alias("product_id"))
    rows = rows.drop_nulls("image")
    _check_splits(path, rows, columns["split"])
    images = rows.group_by("image", maintain_order=True).agg(
        pl.col("row").first(), pl.col("caption").alias("captions"), pl.col("split").first()
    )
    records = captioned_records(path.name, images.select("row", "image", "captions", "split"), root, data.image_folder)
    unnamed = rejects_of(path.name, nameless, "empty image name", "caption", REJECTED)
    return Records(
        records.table,
        records.num_rows + len(nameless),
        records.products,
        pl.concat([records.rejects, unnamed]),
        records.queries,
        records.relevance,
    )


def _columns(path: Path, header: list[str], data: DataParams) -> dict[str, str]:
    """Return the names of the columns image, text and split; an empty name means no split column."""
    lower = {name.lower(): name for name in reversed(header)}
    names = {}
    for role, usual in USUAL.items():
        named = getattr(data.columns, role)
        if isinstance(named, list):
            raise ValueError(f"{path}: data.columns.text = {named!r}; a caption is one column, so name only one")
        chosen = named or next((lower[name] for name in usual if name in lower), "")
        if chosen not in header and (named or role != "split"):
            raise ValueError(
                f"{path}: no column {named or ' or '.join(usual)!r} for data.columns.{role}; columns found: "
                f"{', '.join(header)}. Name it in data.columns.{role}"
            )
        names[role] = chosen
    return names


def _check_splits(path: Path, rows: pl.DataFrame, column: str) -> None:
    if not column:
        return
    wrong = rows.filter(pl.col("split").is_null())
    if len(wrong):
        row, value = wrong.select("row", "raw_split").row(0)
        raise ValueError(f"{path}: row {row}: {column} = {value!r}; write train, val, validation or test")
    divided = rows.filter(pl.col("split") != pl.col("split").first().over("image"))
    if len(divided):
        row, image, value = divided.select("row", "image", "raw_split").row(0)
        raise ValueError(f"{path}: row {row}: {column} = {value!r}, but an earlier row has {image} in another split")
