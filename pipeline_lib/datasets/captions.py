"""From captions, several an image, to records: the image is the product, each of its captions a query for it.

Equal captions of two images stay two queries, each with its own image as the answer, as the benchmarks count them.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import polars as pl

from pipeline_lib.catalogue.schema import QUERY_DROPPED, RECORDS, RELEVANCE, Records, conform, rejects_of, text_queries
from pipeline_lib.datasets.csv_table import squeeze
from pipeline_lib.datasets.product_ids import reject_ids

# One row an image: where it was read, its name as the data set gives it, its captions, its split.
CAPTIONED = pl.Schema({"row": pl.Int64(), "image": pl.String(), "captions": pl.List(pl.String()), "split": pl.String()})


def captioned_records(table: str, images: pl.DataFrame, root: Path, image_folder: str) -> Records:
    """Return the records of CAPTIONED rows; an image's id is its file name without the extension.

    An image without a usable id, and every caption of it, is rejected; so is an empty caption.
    """
    product_id = pl.col("image").str.split("/").list.last().str.replace(r"\.[^.]*$", "")
    media = pl.Series(
        "media", [[path] for path in media_paths(images["image"], root, image_folder)], pl.List(pl.String)
    )
    named = images.with_columns(product_id.replace("", None).alias("product_id"), media)
    good, rejects = reject_ids(table, named)
    captions = good.select("row", "product_id", "split", "captions").explode("captions").drop_nulls("captions")
    captions = captions.with_columns(squeeze(pl.col("captions")).alias("text"))
    place = pl.int_range(pl.len()).over("product_id")
    captions = captions.with_columns(pl.format("{}#{}", "product_id", place).alias("query_id"))
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
    """Return where each image lies inside the root: in the image folder with its own folder or without, or beside it.

    Folders are looked at, not files: a million images cost no million calls. Which files are there, the catalogue says.
    """
    folder = "" if image_folder in ("", ".") else image_folder.rstrip("/")
    prefixes: dict[str, str] = {}
    paths = []
    for image in images:
        own, name = str(PurePosixPath(image).parent), PurePosixPath(image).name
        if own not in prefixes:
            tried = [str(PurePosixPath(folder) / own), own, folder]
            prefixes[own] = next((one for one in tried if (root / one).is_dir()), tried[0])
        paths.append(str(PurePosixPath(prefixes[own]) / name))
    return paths
