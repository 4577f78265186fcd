"""Reads FashionIQ (Wu et al. 2021, arXiv:1905.12794): dresses, shirts and tops, and how a wanted one differs.

`split.CATEGORY.SPLIT.json` lists the products, `cap.CATEGORY.SPLIT.json` has pairs of a candidate and a target with two
captions. The category is the product's label. A query's text is "CAPTION and CAPTION"; a pair of the training split is
four queries, both orders and each caption alone, as its published models are trained.
"""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.messages import kind_of, show
from pipeline_lib.catalogue.schema import RECORDS, Records, Wording, conform
from pipeline_lib.catalogue.strings import clean_string
from pipeline_lib.datasets.composed_queries import ComposedRow, composed_of, merged_composed
from pipeline_lib.datasets.image_index import list_images, stem_of
from pipeline_lib.datasets.json_file import find_file, load_json, read_entries, text_of
from pipeline_lib.datasets.jsonl import Object
from pipeline_lib.datasets.photo_paths import folder_prefix
from pipeline_lib.datasets.product_ids import reject_ids
from pipeline_lib.datasets.table_file import check_root
from pipeline_lib.params.data import DataParams

SPLITS = ("train", "val", "test")
CATEGORIES = ("dress", "shirt", "toptee")
CAPTIONS, PRODUCTS = ("captions",), ("image_splits",)


def read_fashion_iq(data: DataParams) -> Records:
    """Return the records of all categories and splits in data.root; ValueError with file, row and value of a fault.

    A product's id is `<category>-<asin>`, because a product may be in two categories. A listed product without a
    photo in data.image_folder is rejected as any other.
    """
    root = Path(data.root)
    check_root(root, "FashionIQ's files")
    prefix = folder_prefix(data.image_folder)
    photos = {stem_of(name).rpartition("/")[2]: prefix + name for name in list_images(root / data.image_folder)}
    frames, parts, rejects = [], [], []
    for category, split in ((category, split) for category in CATEGORIES for split in SPLITS):
        path = find_file(root, f"cap.{category}.{split}.json", CAPTIONS)
        if path is None:
            continue
        listed = find_file(root, f"split.{category}.{split}.json", PRODUCTS)
        if listed is None:
            raise ValueError(
                f"{path}: no split.{category}.{split}.json in {root} or in image_splits; it lists the gallery"
            )
        asins = _asins(listed)
        ids = [f"{category}-{asin}" for asin in asins]
        paths = [photos.get(asin, f"{prefix}{asin}.jpg") for asin in asins]
        frames.append(_products(ids, paths, category, split))
        queries = (
            query for row, entry in read_entries(path) for query in _queries(path, category, split, (row, entry))
        )
        composed, dropped = composed_of(path.name, queries, ids)
        parts.append(composed)
        rejects.append(dropped)
    if not frames:
        raise ValueError(
            f"data.root = {str(root)!r}: no cap.dress.train.json there or in captions; put FashionIQ's files there"
        )
    good, repeated = reject_ids(root.name, pl.concat(frames))
    records = Records(
        root.name,
        sum(map(len, frames)),
        conform(good, RECORDS),
        pl.concat([repeated, *rejects]),
        wording=Wording(
            "photos",
            "put cap.dress.train.json and split.dress.train.json, or those of another category, beside the files that "
            "are there",
        ),
    )
    return merged_composed(records, parts)


def joined_captions(captions: list[str], split: str) -> list[str]:
    """Return the texts of a pair: "1 and 2"; in training also "2 and 1", "1" and "2".

    >>> joined_captions(["is red.", "has a collar"], "val")
    ['is red and has a collar']
    >>> joined_captions(["is red", ""], "train")
    ['is red']
    """
    parts = [part for caption in captions if (part := clean_string(caption).strip(".?, "))]
    texts = [" and ".join(parts)]
    if split == "train" and len(parts) > 1:
        texts += [" and ".join(reversed(parts)), *parts]
    return texts


def _queries(path: Path, category: str, split: str, numbered: tuple[int, Object]) -> Iterator[ComposedRow]:
    row, entry = numbered
    captions = entry.get("captions")
    if not isinstance(captions, list) or not all(isinstance(one, str) for one in captions):
        raise ValueError(f"{path}: row {row}: captions = {show(captions)}; write a list of texts")
    reference, target = (
        f"{category}-{asin}" if (asin := text_of(path, row, entry, key)) else "" for key in ("candidate", "target")
    )
    for number, text in enumerate(joined_captions(captions, split)):
        name = f"{split}-{category}-{row}" + (f"#{number}" if number else "")
        yield ComposedRow(row, name, reference, text, {target: 1} if target else {}, split=split)


def _asins(path: Path) -> list[str]:
    asins = load_json(path)
    if not isinstance(asins, list) or not asins or not all(isinstance(one, str) for one in asins):
        raise ValueError(f"{path}: {kind_of(asins)}, not a list of product ids; download the file again")
    return asins


def _products(ids: list[str], paths: list[str], category: str, split: str) -> pl.DataFrame:
    columns = {"product_id": ids, "path": paths}
    frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)).with_row_index("row", offset=1)
    fixed = {"text": "", "label": category, "group": None, "split": split, "fold": None}
    return conform(
        frame.with_columns(pl.concat_list("path").alias("media"), **{k: pl.lit(v) for k, v in fixed.items()}), RECORDS
    )
