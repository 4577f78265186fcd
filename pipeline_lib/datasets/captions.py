"""Converts images with captions to records: an image is a product, and each of its captions is a query for it.

Equal captions of two images remain two queries, each with its own image as the answer, as the benchmarks count them.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import polars as pl

from pipeline_lib.catalogue.schema import QUERY_DROPPED, RECORDS, RELEVANCE, Records, conform, rejects_of, text_queries
from pipeline_lib.datasets.csv_table import squeeze
from pipeline_lib.datasets.product_ids import reject_ids

# One row per image: its row in the file, its name in the data set, its captions and its split.
CAPTIONED = pl.Schema({"row": pl.Int64(), "image": pl.String(), "captions": pl.List(pl.String()), "split": pl.String()})


def captioned_records(table: str, images: pl.DataFrame, root: Path, image_folder: str) -> Records:
    """Return the records of CAPTIONED rows; the product id is the file name without the extension.

    An image without a valid id is rejected together with its captions. An empty caption is rejected.
    """
    product_id = pl.col("image").str.split("/").list.last().str.replace(r"\.[^.]*$", "")
    media = pl.Series(
        "media", [[path] for path in media_paths(images["image"], root, image_folder)], pl.List(pl.String)
    )
    named = images.with_columns(product_id.replace("", None).alias("product_id"), media)
    good, rejects = reject_ids(table, named)
    captions = good.select("row", "product_id", "split", "captions").explode("captions").drop_nulls("captions")
    captions = captions.with_columns(squeeze(pl.col("captions")).alias("text"))
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
    )


def media_paths(images: Iterable[str], root: Path, image_folder: str) -> list[str]:
    """Return the path of each image relative to the root.

    An image may be in the image folder, with or without the folder of its name, or in that folder of the root. Only
    folders are looked up, because a million images would need a million calls. The catalogue reports missing files.
    """
    folder = "" if image_folder in ("", ".") else image_folder.rstrip("/")
    prefixes: dict[str, str] = {}
    paths = []
    for image in images:
        parent, name = str(PurePosixPath(image).parent), PurePosixPath(image).name
        if parent not in prefixes:
            candidates = [str(PurePosixPath(folder) / parent), parent, folder]
            prefixes[parent] = next((one for one in candidates if (root / one).is_dir()), candidates[0])
        paths.append(str(PurePosixPath(prefixes[parent]) / name))
    return paths
