"""Converts images or clips with captions to records: each is a product, and each of its captions is a query for it.

A product's id is the path of its image or clip, because folders may number their images from 1 each. Equal captions of
two images remain two queries, each with its own image as the answer, as the benchmarks count them.
"""

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import polars as pl

from pipeline_lib.artifacts.path_guard import is_inner
from pipeline_lib.catalogue.schema import (
    QUERY_DROPPED,
    QUERY_SLICES,
    RECORDS,
    RELEVANCE,
    Records,
    Wording,
    conform,
    rejects_of,
    text_queries,
)
from pipeline_lib.catalogue.strings import clean_name, clean_string, clean_text
from pipeline_lib.datasets.list_column import list_column
from pipeline_lib.datasets.product_ids import reject_ids

# One row per image: its row in the file, its path in the data set, its captions and its split. A column `product_id`
# may give ids other than the paths, a column `slices` the slices of each caption, as text with bars between them, and a
# column `subset` a list of the products that each caption is also ranked among.
CAPTIONED = pl.Schema({"row": pl.Int64(), "image": pl.String(), "captions": pl.List(pl.String()), "split": pl.String()})


def captioned_records(table: str, images: pl.DataFrame, root: Path, image_folder: str, unit: str = "photos") -> Records:
    """Return the records of CAPTIONED rows.

    An image without a valid id is rejected together with its captions. An empty caption is rejected. `unit` is what
    messages call the images.
    """
    paths = images["product_id"] if "product_id" in images.columns else map(image_id, images["image"])
    ids = pl.Series("product_id", list(paths), pl.String)
    media = list_column("media", [[path] for path in media_paths(images["image"], root, image_folder)])
    named = images.with_columns(ids.replace("", None), media)
    good, rejects = reject_ids(table, named)
    lists = [name for name in ("captions", "slices", "subset") if name in good.columns]
    captions = good.select("row", "product_id", "split", *lists).explode(lists).drop_nulls("captions")
    captions = captions.with_columns(clean_text(pl.col("captions")).alias("text"))
    number = pl.int_range(pl.len()).over("product_id")
    captions = captions.with_columns(pl.format("{}#{}", "product_id", number).alias("query_id"))
    empty = rejects_of(table, captions.filter(pl.col("text") == ""), "empty caption", "query_id", QUERY_DROPPED)
    captions = captions.filter(pl.col("text") != "")
    first = captions.group_by("product_id", maintain_order=True).agg(pl.col("text").first())
    products = good.join(first, on="product_id", how="left", maintain_order="left").with_columns(
        pl.col("text").fill_null(""), *(pl.lit(None).alias(name) for name in ("label", "group", "fold"))
    )
    queries = text_queries(captions)
    relevance = captions.select("query_id", "product_id", pl.lit(1).alias("grade"))
    return Records(
        table,
        len(images),
        conform(products, RECORDS),
        pl.concat([rejects, empty]),
        queries,
        conform(relevance, RELEVANCE),
        slices=_slices(captions) if "slices" in lists else pl.DataFrame(schema=QUERY_SLICES),
        wording=Wording(unit),
    )


def _slices(captions: pl.DataFrame) -> pl.DataFrame:
    """Return QUERY_SLICES rows of the captions, whose column `slices` has names with bars between them."""
    listed = captions.select("query_id", pl.col("slices").str.split("|").alias("slice")).explode("slice")
    named = listed.with_columns(clean_name(pl.col("slice"))).drop_nulls("slice")
    return conform(named.unique(maintain_order=True), QUERY_SLICES)


def image_id(image: str) -> str:
    r"""Return the product id of an image: its path, cleaned; empty if there is none.

    >>> image_id("./shoes//1.jpg"), image_id("shoes\\1.jpg")
    ('shoes/1.jpg', 'shoes/1.jpg')
    """
    return clean_string(str(PurePosixPath(image.replace("\\", "/")))) if image.strip() else ""


def media_paths(images: Iterable[str], root: Path, image_folder: str) -> list[str]:
    """Return the path of each image relative to the root.

    An image may be in the image folder, with or without the folder of its name, or in that folder of the root. Each
    folder is listed once, because a million images would need a million calls. Names are compared cleaned. The
    catalogue reports missing files.
    """
    folders: dict[str, tuple[str, dict[str, str]]] = {}
    paths = []
    for image in images:
        path = PurePosixPath(image.replace("\\", "/"))
        parent = str(path.parent)
        if parent not in folders:
            candidates = [str(PurePosixPath(image_folder) / parent), parent, image_folder]
            found = (one for one in candidates if is_inner(parent) and os.path.isdir(root / one))  # noqa: PTH112 - no exception
            prefix = next(found, candidates[0])
            folders[parent] = prefix, _unclean_names(root / prefix) if is_inner(parent) else {}
        prefix, unclean = folders[parent]
        paths.append(str(PurePosixPath(prefix) / unclean.get(clean_string(path.name), path.name)))
    return paths


def _unclean_names(folder: Path) -> dict[str, str]:
    """Return cleaned name -> name of the files whose names change by cleaning."""
    names = os.listdir(folder) if os.path.isdir(folder) else []  # noqa: PTH112, PTH208 - a str for each file
    cleaned = ((clean_string(name), name) for name in names if not name.isascii() or "  " in name)
    return {clean: name for clean, name in cleaned if clean != name}
