"""Reads a product table in CSV format: columns by their names, photos by an image column or the products' ids.

Everything is read as strings, so the id 007 remains 007. A row without a usable id is rejected. A wrong split or fold
raises ValueError, because it would affect every metric.
"""

from pathlib import Path

import polars as pl

from pipeline_lib.catalogue.schema import RECORDS, Records, conform
from pipeline_lib.datasets.columns import SPLIT_NAMES, Columns, resolve_columns
from pipeline_lib.datasets.image_index import assign_images, list_images
from pipeline_lib.datasets.product_ids import reject_ids
from pipeline_lib.datasets.table_file import check_utf8, find_table, read_columns, read_header
from pipeline_lib.params.data import DataParams

# Letters of scripts that separate words by spaces: "Apples are red" does not begin with the title "Apple".
WORD_CONTINUES = r"^[\p{L}\p{N}&&[^\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]]"


def read_csv_table(data: DataParams) -> Records:
    """Return the records of the CSV in data.root; ValueError with the file, row and value of a fault."""
    root = Path(data.root)
    path = find_table(root, data.table)
    check_utf8(path)
    header = read_header(path)
    columns = resolve_columns(str(path), header, data.columns)
    raw = read_columns(path, header, columns.used())
    records = raw.select(
        "row",
        pl.col(columns.id).alias("product_id"),
        join_texts([squeeze(pl.col(name)) for name in columns.text]).alias("text"),
        *(_column(name, role) for role, name in (("label", columns.label), ("group", columns.group))),
        _column(columns.image, "image"),
        _column(columns.split, "split")
        .str.to_lowercase()
        .replace_strict(SPLIT_NAMES, default="?", return_dtype=pl.String)
        if columns.split
        else pl.lit(None, dtype=pl.String).alias("split"),
        _column(columns.fold, "fold").str.replace(r"\.0+$", ""),
    )
    _check_splits(path, raw, records, columns)
    records = records.with_columns(pl.col("fold").cast(pl.Int64))
    records, rejects = reject_ids(path.name, records)
    records = records.with_columns(_media(root, data.image_folder, records, columns.image is not None))
    return Records(path.name, len(raw), conform(records, RECORDS), rejects)


def squeeze(column: pl.Expr) -> pl.Expr:
    """Return text with each run of white space (including line breaks) replaced by one space; null becomes empty."""
    return column.fill_null("").str.replace_all(r"\s+", " ").str.strip_chars()


def join_texts(parts: list[pl.Expr]) -> pl.Expr:
    """Return the parts joined by spaces; if a part begins with the text before it, that text is not repeated."""
    text = pl.lit("")
    for part in parts:
        continues = part.str.slice(text.str.len_chars()).str.contains(WORD_CONTINUES)
        repeated = part.str.starts_with(text) & ~continues
        text = (
            pl.when((part == "") | (part == text))
            .then(text)
            .when((text == "") | repeated)
            .then(part)
            .otherwise(pl.concat_str([text, part], separator=" "))
        )
    return text


def _column(name: str | None, role: str) -> pl.Expr:
    return (pl.col(name) if name else pl.lit(None, dtype=pl.String)).alias(role)


def _check_splits(path: Path, raw: pl.DataFrame, records: pl.DataFrame, columns: Columns) -> None:
    if columns.split:
        wrong = records.filter(pl.col("split").is_null() | (pl.col("split") == "?"))
        if len(wrong):
            row = wrong["row"][0]
            value = raw.filter(pl.col("row") == row)[columns.split][0] or ""
            raise ValueError(f"{path}: row {row}: {columns.split} = {value!r}; write train, val, validation or test")
    wrong = records.filter(~pl.col("fold").str.contains(r"^\d{1,9}$"))
    if len(wrong):
        row, value = wrong.select("row", "fold").row(0)
        raise ValueError(
            f"{path}: row {row}: {columns.fold} = {value!r} is not a whole number >= 0; number folds from 0"
        )


def _media(root: Path, image_folder: str, records: pl.DataFrame, has_column: bool) -> pl.Series | pl.Expr:
    """Return each product's photos as paths relative to the root.

    The order of an image column is preserved, because a shop shows the first photo. A bare file name is looked up in
    the image folder.
    """
    folder = "" if image_folder in ("", ".") else image_folder.rstrip("/") + "/"
    names = list_images(root / image_folder)
    if not has_column:
        images = assign_images(names, records["product_id"].to_list())
        media = [[folder + name for name in images.get(product_id, [])] for product_id in records["product_id"]]
        return pl.Series("media", media, dtype=pl.List(pl.String))
    known = set(names)
    cells = (
        records["image"].fill_null("").str.replace_all("\\", "/", literal=True).str.replace_all(";", "|", literal=True)
    )
    paths = [[part.strip() for part in cell.split("|") if part.strip()] for cell in cells]
    listed = [[folder + part if part in known else part for part in dict.fromkeys(cell)] for cell in paths]
    return pl.Series("media", listed, dtype=pl.List(pl.String))
