"""Reads a product table in CSV format: columns by their names, photos by an image column or the products' ids.

Everything is read as strings, so the id 007 remains 007. A row that cannot be read, or has no usable id, is rejected.
A wrong split or fold raises ValueError, because it would affect every metric.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.messages import show
from pipeline_lib.catalogue.attributes import read_attributes
from pipeline_lib.catalogue.schema import (
    PHOTO_DROPPED,
    RECORDS,
    REJECTED,
    RETAINED,
    Records,
    Wording,
    conform,
    rejects_of,
)
from pipeline_lib.catalogue.strings import clean, clean_name, clean_text, strip_tags
from pipeline_lib.datasets.clip_names import CLIP_ENDINGS, clip_folder, with_endings
from pipeline_lib.datasets.columns import SPLIT_ADVICE, SPLIT_NAMES, Columns, resolve_columns
from pipeline_lib.datasets.exports import EXPORTS
from pipeline_lib.datasets.image_index import list_images, same_names
from pipeline_lib.datasets.list_column import list_column
from pipeline_lib.datasets.photo_paths import CellReader, folder_prefix, is_url, photos_by_id, readable_names
from pipeline_lib.datasets.product_ids import reject_ids
from pipeline_lib.datasets.table_file import find_table, open_table, read_columns
from pipeline_lib.params.data import DataParams

# Letters of scripts that separate words by spaces: "Apples are red" does not begin with the title "Apple".
WORD_CONTINUES = r"^[\p{L}\p{N}&&[^\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]]"


def read_csv_table(data: DataParams) -> Records:
    """Return the records of the CSV in data.root; ValueError with the file, row and value of a fault."""
    root = Path(data.root)
    table = open_table(find_table(root, data.table, others=(data.queries, data.sample_submission)))
    columns = resolve_columns(str(table.path), table.header, data.columns)
    raw, unreadable = read_columns(table, columns.used())
    texts = [pl.col(name) if columns.export is None else strip_tags(pl.col(name)) for name in columns.text]
    records = raw.select(
        "row",
        _column(columns.id, clean_name).alias("product_id"),
        join_texts([clean_text(text) for text in texts]).alias("text"),
        *(_column(name, clean_name).alias(role) for role, name in (("label", columns.label), ("group", columns.group))),
        pl.concat_list(columns.image or pl.lit(None, dtype=pl.String)).list.drop_nulls().alias("cells"),
        (pl.col(columns.video) if columns.video else pl.lit(None, dtype=pl.String)).alias("clip"),
        _column(columns.split, clean)
        .str.to_lowercase()
        .replace_strict({**SPLIT_NAMES, None: None}, default="?", return_dtype=pl.String)
        .alias("split"),
        _column(columns.fold, clean).str.replace(r"\.0+$", "").alias("fold"),
    )
    _check_splits(table.path, raw, records, columns)
    records = records.with_columns(pl.col("fold").cast(pl.Int64))
    with_ids = raw.with_columns(records["product_id"])
    attributes, no_numbers = read_attributes(table.path.name, with_ids, columns.attributes)
    merged = columns.export is not None and EXPORTS[columns.export].photos_in_more_rows
    if merged:
        records = _merge_rows(records)
    num_rows = len(records) + unreadable.filter(pl.col("action") == REJECTED).height
    records, rejects = reject_ids(table.path.name, records)
    media, bad_photos = _media(data, table.path, records, columns)
    if columns.video:
        media = list_column("media", _with_clips(data, media.to_list(), records["clip"].to_list()))
    records = conform(records.with_columns(media), RECORDS)
    rejects = pl.concat([unreadable, rejects, bad_photos, no_numbers])
    read = Records(table.path.name, num_rows, records, rejects, columns=columns.choice(), ignored=columns.ignored)
    return replace(read, attributes=attributes, wording=Wording("products" if merged else "rows"))


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


def _column(name: str | None, cleaned: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    return cleaned(pl.col(name)) if name else pl.lit(None, dtype=pl.String)


def _check_splits(path: Path, raw: pl.DataFrame, records: pl.DataFrame, columns: Columns) -> None:
    if columns.split:
        wrong = records.filter(pl.col("split").is_null() | (pl.col("split") == "?"))
        if len(wrong):
            row = wrong["row"][0]
            value = raw.filter(pl.col("row") == row)[columns.split][0] or ""
            raise ValueError(f"{path}: row {row}: {columns.split} = {show(value)}; {SPLIT_ADVICE}")
    wrong = records.filter(~pl.col("fold").str.contains(r"^\d{1,9}$"))
    if len(wrong):
        row, value = wrong.select("row", "fold").row(0)
        raise ValueError(
            f"{path}: row {row}: {columns.fold} = {show(value)} is not a whole number >= 0; number folds from 0"
        )


def _merge_rows(records: pl.DataFrame) -> pl.DataFrame:
    """Add the photos of rows without a text to the first row of the same id, as some exports list them."""
    first = pl.col("product_id").is_first_distinct() | pl.col("product_id").is_null()
    more = records.filter(~first & (pl.col("text") == ""))
    cells = more.select("product_id", "cells").explode("cells").drop_nulls().group_by("product_id").agg("cells")
    rest = records.join(more.select("row"), on="row", how="anti", maintain_order="left")
    joined = rest.join(cells, on="product_id", how="left", maintain_order="left", suffix="_more")
    added = pl.when(first).then(pl.col("cells_more")).fill_null([])
    return joined.with_columns(pl.concat_list("cells", added).alias("cells")).drop("cells_more")


def _media(data: DataParams, table: Path, records: pl.DataFrame, columns: Columns) -> tuple[pl.Series, pl.DataFrame]:
    """Return each product's photos as paths relative to the root, and reject rows for photos that cannot be named.

    The order of an image column is preserved, because a shop shows the first photo. URLs in it are not downloaded: such
    a product has the photos that are named by its id. Raises ValueError if no product has any.
    """
    folder = Path(data.root) / data.image_folder
    names, unreadable = readable_names(list_images(folder))
    ids = records["product_id"].to_list()
    by_id = photos_by_id(names, ids)
    prefix = folder_prefix(data.image_folder)
    reader = CellReader(Path(data.root), prefix, names)
    media, urls, named_alike = [], [], []
    several = same_names(by_id)
    for row, product_id, cells in records.select("row", "product_id", "cells").iter_rows():
        paths = [path for cell in cells if not is_url(cell) for path in reader.paths(cell)]
        url = next(filter(is_url, cells), None)
        if not (columns.image or columns.video) or url is not None:
            named = [prefix + name for name in by_id.get(product_id, [])]
            if url is not None and not named:
                urls.append((row, product_id, url))
            if product_id in several:
                named_alike.append((row, product_id, ", ".join(several[product_id])))
            paths += named
        media.append(list(dict.fromkeys(paths)))
    if urls and not any(media):
        row, product_id, url = urls[0]
        raise ValueError(
            f"{table}: row {row}: {columns.image[0]} = {show(url)} is a URL, and nothing is downloaded; download the "
            f"photos to {folder}, named by id ({product_id}.jpg, {product_id}_1.jpg and so on)"
        )
    rejects = [
        _photo_rejects(table.name, urls, "image is a URL, nothing is downloaded", PHOTO_DROPPED),
        _photo_rejects(table.name, named_alike, "photos of one name in several folders, all used", RETAINED),
        _rejects_of_names(unreadable, ids, prefix),
    ]
    return list_column("media", media), pl.concat(rejects)


def _with_clips(data: DataParams, media: list[list[str]], cells: list[str | None]) -> list[list[str]]:
    """Return each product's photos and then its clips, as paths relative to the root."""
    root, folder = Path(data.root), clip_folder(Path(data.root), data.image_folder)
    names, _ = readable_names(list_images(root / folder, CLIP_ENDINGS))
    reader = CellReader(root, folder_prefix(folder), names)
    filled = with_endings([cell for cell in cells if cell], root, folder)
    complete = iter(filled)
    paths = [reader.paths(next(complete)) if cell else [] for cell in cells]
    return [list(dict.fromkeys([*photos, *clips])) for photos, clips in zip(media, paths, strict=True)]


def _photo_rejects(table: str, rows: list[tuple[int, str, str]], reason: str, action: str) -> pl.DataFrame:
    """Return a reject row for each (row, product_id, value)."""
    frame = pl.DataFrame(rows, schema={"row": pl.Int64, "product_id": pl.String, "value": pl.String}, orient="row")
    return rejects_of(table, frame, reason, "value", action)


def _rejects_of_names(names: list[str], ids: list[str], prefix: str) -> pl.DataFrame:
    """Return a reject row for each file of the image folder whose name is not UTF-8, with the name escaped."""
    owners = {name: owner for owner, found in photos_by_id(names, ids).items() for name in found}
    escaped = [name.encode(errors="surrogateescape").decode("ascii", errors="backslashreplace") for name in names]
    rows = [(None, owners.get(name), prefix + shown) for name, shown in zip(names, escaped, strict=True)]
    frame = pl.DataFrame(rows, schema={"row": pl.Int64, "product_id": pl.String, "file": pl.String}, orient="row")
    advice = pl.lit("rename it, for example with `convmv -f GBK -t UTF-8 --notest`").alias("advice")
    rejects = rejects_of("", frame.with_columns(advice), "file name is not UTF-8", "advice", PHOTO_DROPPED)
    return rejects.with_columns(frame["file"])
