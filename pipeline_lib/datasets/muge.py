"""Reads MUGE (Chinese e-commerce text-to-image retrieval) in its published format and in that of Chinese-CLIP.

Products are the images of `{split}_imgs.tsv`, which are not unpacked. Queries and their relevant images come from
`{split}_queries.jsonl` or `{split}_texts.jsonl`; those of the test split have no relevant images. An image can have
several texts and a text several images. The pairs are the relevance table, and a product's text is its first text.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.path_guard import inner_file
from pipeline_lib.catalogue.schema import (
    QUERY_DROPPED,
    RECORDS,
    REJECTED,
    REJECTS,
    RELEVANCE,
    RETAINED,
    Records,
    Wording,
    conform,
    rejects_of,
    text_queries,
)
from pipeline_lib.catalogue.strings import clean_text, drop_half_characters
from pipeline_lib.datasets.image_tsv import list_tsv_images
from pipeline_lib.datasets.jsonl import read_integer, read_integers, read_objects, read_string
from pipeline_lib.datasets.product_ids import HALF_DROPPED, reject_ids
from pipeline_lib.datasets.table_file import check_root
from pipeline_lib.params.data import DataParams

# Name of a split in the files -> our name.
SPLITS = {"train": "train", "valid": "val", "test": "test"}
# Format -> the keys of its lines: the query's id, its text, the ids of its images.
FORMATS = {"queries": ("query_id", "query_text", "item_ids"), "texts": ("text_id", "text", "image_ids")}
QUERY_LINES = pl.Schema(
    {"row": pl.Int64(), "query_id": pl.String(), "text": pl.String(), "product_id": pl.List(pl.String())}
)


@dataclass(frozen=True)
class _Split:
    """The tables of one split: RECORDS, QUERIES, RELEVANCE and REJECTS."""

    num_rows: int
    products: pl.DataFrame
    queries: pl.DataFrame
    relevance: pl.DataFrame
    rejects: pl.DataFrame


def read_muge(data: DataParams) -> Records:
    """Return the records of the splits in data.root; ValueError with the file, row and value of a fault."""
    root = Path(data.root)
    check_root(root, "MUGE's files")
    texts = {name: path for name in SPLITS if (path := find_texts(root, name))}
    if "train" not in texts:
        names = " or ".join(f"train_{name}.jsonl" for name in FORMATS)
        raise ValueError(f"data.root = {str(root)!r}: no {names} there; put MUGE's files there, unpacked")
    parts = [_read_split(name, path, data.missing_image == "reject") for name, path in texts.items()]
    return Records(
        root.name,
        sum(part.num_rows for part in parts),
        pl.concat([part.products for part in parts]),
        pl.concat([part.rejects for part in parts]),
        pl.concat([part.queries for part in parts]),
        pl.concat([part.relevance for part in parts]),
        wording=Wording("photos"),
    )


def find_texts(root: Path, name: str) -> Path | None:
    """Return the file of a split's texts, or None.

    Raises ValueError if both formats exist, if the images are missing, or for a link that leaves the data root.
    """
    paths = [path for format_name in FORMATS if (path := root / f"{name}_{format_name}.jsonl").is_file()]
    if len(paths) > 1:
        raise ValueError(f"{root}: both {paths[0].name} and {paths[1].name}; keep one format of each split")
    if paths and not images_of(paths[0]).is_file():
        raise ValueError(f"{paths[0]}: its images, {images_of(paths[0]).name}, are not in the same folder")
    for path in (*paths, *map(images_of, paths)):
        inner_file(root, path.name)
    return paths[0] if paths else None


def images_of(texts: Path) -> Path:
    """Return the path of the images that belong to a file of texts.

    >>> images_of(Path("valid_queries.jsonl")).name
    'valid_imgs.tsv'
    """
    return texts.with_name(f"{texts.stem.rpartition('_')[0]}_imgs.tsv")


def read_texts(path: Path) -> list[tuple[int, int, str, list[int]]]:
    """Return (row, query id, text as it is in the file, image ids) of each line, whose keys are those of one format."""
    lines = []
    keys: tuple[str, str, str] | None = None
    for row, entry in read_objects(path):
        keys = keys or next((keys for keys in FORMATS.values() if keys[0] in entry), FORMATS["queries"])
        query_id, text = read_integer(path, row, entry, keys[0]), read_string(path, row, entry, keys[1])
        lines.append((row, query_id, text, read_integers(path, row, entry, keys[2])))
    if not lines:
        raise ValueError(f"{path}: no text in it; download the file again")
    return lines


def _read_split(name: str, path: Path, reject_missing: bool) -> _Split:
    images = list_tsv_images(images_of(path))
    product_id = pl.format(f"{name}-{{}}", pl.col("image_id"))
    listed = images.select("row", product_id.alias("product_id"), pl.concat_list("media").alias("media"))
    lines, text_rejects = _query_lines(name, path)
    pairs = lines.drop("text").explode("product_id").drop_nulls("product_id").unique(maintain_order=True)
    missing = pairs.join(listed, on="product_id", how="anti", maintain_order="left").unique("product_id", keep="first")
    missing = missing.sort("row").select("row", "product_id", pl.lit([], dtype=pl.List(pl.String)).alias("media"))
    good, rejects = reject_ids(images_of(path).name, listed)
    if reject_missing:
        rejects = pl.concat([rejects, rejects_of(path.name, missing, "missing image", "product_id", REJECTED)])
    else:
        good = pl.concat([good, missing])
    texts = pairs.join(lines.select("query_id", "text"), on="query_id", how="left", maintain_order="left")
    first = texts.unique("product_id", keep="first").select("product_id", "text")
    products = good.join(first, on="product_id", how="left", maintain_order="left").with_columns(
        pl.col("text").fill_null(""), pl.lit(SPLITS[name]).alias("split"), *_absent("label", "group", "fold")
    )
    queries = text_queries(lines.with_columns(pl.lit(SPLITS[name]).alias("split")))
    relevance = pairs.select("query_id", "product_id", pl.lit(1).alias("grade"))
    return _Split(
        len(listed) + len(missing),
        conform(products, RECORDS),
        queries,
        conform(relevance, RELEVANCE),
        pl.concat([rejects, text_rejects]),
    )


def _query_lines(name: str, path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the QUERY_LINES of a split that have a text and a new id, and reject rows for the others."""
    texts = read_texts(path)
    rows = [
        (row, f"{name}-{key}", drop_half_characters(text), [f"{name}-{one}" for one in ids])
        for row, key, text, ids in texts
    ]
    lines = pl.DataFrame(rows, schema=QUERY_LINES, orient="row").with_columns(clean_text(pl.col("text")))
    halved = pl.Series([text != drop_half_characters(text) for _, _, text, _ in texts], dtype=pl.Boolean)
    checked = lines.with_columns(pl.lit(None, dtype=pl.String).alias("product_id"))
    repeated, empty = ~pl.col("query_id").is_first_distinct(), pl.col("text") == ""
    rejects = [
        rejects_of(path.name, checked.filter(repeated), "duplicate query", "query_id", QUERY_DROPPED),
        rejects_of(path.name, checked.filter(empty & ~repeated), "empty query", "query_id", QUERY_DROPPED),
        rejects_of(path.name, checked.filter(halved), HALF_DROPPED, "text", RETAINED),
    ]
    return lines.filter(~repeated & ~empty), conform(pl.concat(rejects), REJECTS)


def _absent(*names: str) -> list[pl.Expr]:
    return [pl.lit(None).alias(name) for name in names]
