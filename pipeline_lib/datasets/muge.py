"""Reads MUGE (Chinese e-commerce text-to-image retrieval) as it is published, and in the form Chinese-CLIP made of it.

Products are the images of `{split}_imgs.tsv`, which stay where they are; queries with their answers come from
`{split}_queries.jsonl` or `{split}_texts.jsonl`, and the test split has none. An image has many texts and a text many
images, so the pairs are the relevance table, and a product's own text is only the first of them.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipeline_lib.catalogue.schema import (
    QUERY_DROPPED,
    RECORDS,
    REJECTED,
    REJECTS,
    RELEVANCE,
    Records,
    conform,
    rejects_of,
    text_queries,
)
from pipeline_lib.datasets.image_tsv import list_tsv_images
from pipeline_lib.datasets.jsonl import read_objects, whole_number, whole_numbers, words
from pipeline_lib.datasets.product_ids import reject_ids
from pipeline_lib.params.data import DataParams

# Name of a split in the files -> ours.
SPLITS = {"train": "train", "valid": "val", "test": "test"}
# Form -> the keys of its lines: the query's id, its text, the ids of its images.
FORMS = {"queries": ("query_id", "query_text", "item_ids"), "texts": ("text_id", "text", "image_ids")}
ASKED = pl.Schema({"row": pl.Int64(), "query_id": pl.String(), "text": pl.String(), "product_id": pl.List(pl.String())})


@dataclass(frozen=True)
class _Split:
    """One split's files, and what was read from them: RECORDS, QUERIES, RELEVANCE and REJECTS."""

    num_rows: int
    products: pl.DataFrame
    queries: pl.DataFrame
    relevance: pl.DataFrame
    rejects: pl.DataFrame


def read_muge(data: DataParams) -> Records:
    """Return the records of the splits that lie in data.root; ValueError names file, row, value and way out."""
    root = Path(data.root)
    if not root.is_dir():
        raise ValueError(f"data.root = {str(root)!r}: no such folder; put MUGE's files there, or `dvc pull` it")
    found = {name: path for name in SPLITS if (path := find_texts(root, name))}
    if "train" not in found:
        wanted = " or ".join(f"train_{form}.jsonl" for form in FORMS)
        raise ValueError(f"data.root = {str(root)!r}: no {wanted} there; put MUGE's files there, unpacked")
    parts = [_read_split(name, path, data.missing_image == "reject") for name, path in found.items()]
    return Records(
        root.name,
        sum(part.num_rows for part in parts),
        pl.concat([part.products for part in parts]),
        pl.concat([part.rejects for part in parts]),
        pl.concat([part.queries for part in parts]),
        pl.concat([part.relevance for part in parts]),
    )


def find_texts(root: Path, name: str) -> Path | None:
    """Return the file of a split's texts, None if there is none; ValueError if both forms are there, or no images."""
    paths = [path for form in FORMS if (path := root / f"{name}_{form}.jsonl").is_file()]
    if len(paths) > 1:
        raise ValueError(f"{root}: both {paths[0].name} and {paths[1].name}; keep one form of each split")
    if paths and not images_of(paths[0]).is_file():
        raise ValueError(f"{paths[0]}: its images, {images_of(paths[0]).name}, are not beside it")
    return paths[0] if paths else None


def images_of(texts: Path) -> Path:
    """Return where the images of a file of texts lie.

    >>> images_of(Path("valid_queries.jsonl")).name
    'valid_imgs.tsv'
    """
    return texts.with_name(f"{texts.stem.rpartition('_')[0]}_imgs.tsv")


def read_texts(path: Path) -> list[tuple[int, int, str, list[int]]]:
    """Return (row, query id, text, image ids) of each line of either form, which the first line's keys tell."""
    asked = []
    keys: tuple[str, str, str] | None = None
    for row, found in read_objects(path):
        keys = keys or next((keys for keys in FORMS.values() if keys[0] in found), FORMS["queries"])
        query_id, text = whole_number(path, row, found, keys[0]), words(path, row, found, keys[1])
        asked.append((row, query_id, " ".join(text.split()), whole_numbers(path, row, found, keys[2])))
    if not asked:
        raise ValueError(f"{path}: no text in it; fetch the file again")
    return asked


def _read_split(name: str, path: Path, reject_missing: bool) -> _Split:
    images = list_tsv_images(images_of(path))
    product_id = pl.format(f"{name}-{{}}", pl.col("image_id"))
    there = images.select("row", product_id.alias("product_id"), pl.concat_list("media").alias("media"))
    asked = pl.DataFrame(
        [(row, f"{name}-{key}", text, [f"{name}-{one}" for one in ids]) for row, key, text, ids in read_texts(path)],
        schema=ASKED,
        orient="row",
    )
    asked, told = _reject_texts(path.name, asked)
    pairs = asked.drop("text").explode("product_id").drop_nulls("product_id").unique(maintain_order=True)
    lost = pairs.join(there, on="product_id", how="anti", maintain_order="left").unique("product_id", keep="first")
    lost = lost.sort("row").select("row", "product_id", pl.lit([], dtype=pl.List(pl.String)).alias("media"))
    good, rejects = reject_ids(images_of(path).name, there)
    if reject_missing:
        missing = rejects_of(path.name, lost, "missing image", "product_id", REJECTED)
        rejects = pl.concat([rejects, missing])
    else:
        good = pl.concat([good, lost])
    texts = pairs.join(asked.select("query_id", "text"), on="query_id", how="left", maintain_order="left")
    first = texts.unique("product_id", keep="first").select("product_id", "text")
    products = good.join(first, on="product_id", how="left", maintain_order="left").with_columns(
        pl.col("text").fill_null(""), pl.lit(SPLITS[name]).alias("split"), *_absent("label", "group", "fold")
    )
    queries = text_queries(asked.with_columns(pl.lit(SPLITS[name]).alias("split")))
    relevance = pairs.select("query_id", "product_id", pl.lit(1).alias("grade"))
    return _Split(
        len(there) + len(lost),
        conform(products, RECORDS),
        queries,
        conform(relevance, RELEVANCE),
        pl.concat([rejects, told]),
    )


def _reject_texts(file: str, asked: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Part off texts that are empty, or whose id an earlier line has."""
    judged = asked.with_columns(pl.lit(None, dtype=pl.String).alias("product_id"))
    twice, empty = ~pl.col("query_id").is_first_distinct(), pl.col("text") == ""
    told = [
        rejects_of(file, judged.filter(twice), "duplicate query", "query_id", QUERY_DROPPED),
        rejects_of(file, judged.filter(empty & ~twice), "empty query", "query_id", QUERY_DROPPED),
    ]
    return asked.filter(~twice & ~empty), conform(pl.concat(told), REJECTS)


def _absent(*names: str) -> list[pl.Expr]:
    return [pl.lit(None).alias(name) for name in names]
