"""Reads CIRCO (Baldrati et al. 2023, arXiv:2303.15247): composed queries with several targets over images of COCO.

The gallery of both splits is the 123,403 unlabeled images, which `image_info_unlabeled2017.json` lists. It has the
split val, so that fold 0 holds all of it out. CIRCO has no training queries: `train.json`, in the same form, may bring
some over other images of COCO.
"""

import re
from pathlib import Path
from typing import Any

import polars as pl

from pipeline_lib.artifacts.messages import show
from pipeline_lib.catalogue.schema import RECORDS, Records, Wording, conform
from pipeline_lib.datasets.composed_queries import SOFT, TARGET, ComposedRow, composed_of, merged_composed
from pipeline_lib.datasets.image_index import list_images, stem_of
from pipeline_lib.datasets.json_file import find_file, load_json, read_entries, text_of
from pipeline_lib.datasets.jsonl import Object, read_integer, read_integers
from pipeline_lib.datasets.photo_paths import folder_prefix
from pipeline_lib.datasets.table_file import check_root
from pipeline_lib.params.data import DataParams

SPLITS = ("train", "val", "test")
ANNOTATIONS = ("annotations",)
LISTING = "image_info_unlabeled2017.json"
LISTING_FOLDERS = ("annotations", "COCO2017_unlabeled/annotations")
IMAGE_FOLDERS = ("COCO2017_unlabeled/unlabeled2017", "unlabeled2017")
LAST_NUMBER = re.compile(r"(\d+)\D*$")


def read_circo(data: DataParams) -> Records:
    """Return the records of CIRCO in data.root; ValueError with the file, row and value of a fault.

    A product's id is the number of its image. Images are in data.image_folder or where COCO's archives put them.
    Without the listing of COCO, the gallery is all images there that train.json does not name.
    """
    root = Path(data.root)
    check_root(root, "CIRCO's annotations")
    files = {split: path for split in SPLITS if (path := find_file(root, f"{split}.json", ANNOTATIONS))}
    if "val" not in files and "test" not in files:
        raise ValueError(f"data.root = {str(root)!r}: no val.json or test.json there or in annotations")
    queries = {
        split: [circo_query(path, split, row, entry) for row, entry in read_entries(path)]
        for split, path in files.items()
    }
    images = _images(root, data.image_folder)
    trained = {name for query in queries.get("train", []) for name in (query.reference, *query.answers) if name}
    gallery = _gallery(root, images, trained)
    listed = dict.fromkeys(gallery, "val") | dict.fromkeys(sorted(trained - gallery.keys()), "train")
    missing = folder_prefix(data.image_folder)
    paths = [images.get(name) or gallery.get(name) or f"{missing}{name.zfill(12)}.jpg" for name in listed]
    columns = {"product_id": list(listed), "path": paths, "split": list(listed.values())}
    products = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)).with_row_index("row", offset=1)
    none = [pl.lit(None).alias(name) for name in ("label", "group", "fold")]
    products = products.with_columns(pl.concat_list("path").alias("media"), pl.lit("").alias("text"), *none)
    checked = [composed_of(files[split].name, rows, listed) for split, rows in queries.items()]
    records = Records(
        root.name,
        len(products),
        conform(products, RECORDS),
        pl.concat([part[1] for part in checked]),
        wording=Wording(
            "photos",
            "CIRCO has no training queries: write annotations/train.json in the form of its val.json, over other "
            "images of COCO in data.image_folder",
        ),
    )
    return merged_composed(records, [part[0] for part in checked])


def _images(root: Path, image_folder: str) -> dict[str, str]:
    """Return the path, relative to the root, of each image by its number, without leading zeros."""
    images: dict[str, str] = {}
    for folder in dict.fromkeys((image_folder, *IMAGE_FOLDERS)):
        prefix = folder_prefix(folder)
        for name in list_images(root / folder):
            number = LAST_NUMBER.search(stem_of(name).rpartition("/")[2])
            if number is not None:
                images.setdefault(str(int(number[1])), prefix + name)
    return images


def _gallery(root: Path, images: dict[str, str], trained: set[str]) -> dict[str, str]:
    """Return the path of each image of the gallery by its number; one that does not exist is where COCO puts it."""
    listed = listed_images(root)
    if listed is None:
        return {number: image for number, image in images.items() if number not in trained}
    return {number: images.get(number, f"{IMAGE_FOLDERS[0]}/{name}") for number, name in listed.items()}


def listed_images(root: Path) -> dict[str, str] | None:
    """Return the file name of each image of COCO's listing by its number, None without a listing.

    Raises ValueError for a file of another form.
    """
    path = find_file(root, LISTING, LISTING_FOLDERS)
    if path is None:
        return None
    content = load_json(path, _number_and_name)
    listed = content.get("images") if isinstance(content, dict) else None
    if not isinstance(listed, list) or not listed or not all(isinstance(one, tuple) for one in listed):
        raise ValueError(f"{path}: no list of `images` with id and file_name in it; download the file again")
    return {str(number): name for number, name in listed}


def _number_and_name(entry: Object) -> Any:
    """Return (id, file_name) in place of an image's object, most of which is URLs and dates."""
    number, name = entry.get("id"), entry.get("file_name")
    return (number, name) if isinstance(number, int) and isinstance(name, str) else entry


def circo_query(path: Path, split: str, row: int, entry: Object) -> ComposedRow:
    """Return the query of an entry of an annotations file; ValueError for a value of another type."""
    number = read_integer(path, row, entry, "id")
    target, truths = text_of(path, row, entry, "target_img_id"), read_integers(path, row, entry, "gt_img_ids")
    aspects = entry.get("semantic_aspects") or []
    if not isinstance(aspects, list) or not all(isinstance(one, str) for one in aspects):
        raise ValueError(f"{path}: row {row}: semantic_aspects = {show(aspects)}; write a list of texts")
    answers = {str(truth): SOFT for truth in truths} | ({target: TARGET} if target else {})
    text = text_of(path, row, entry, "relative_caption")
    reference = text_of(path, row, entry, "reference_img_id")
    return ComposedRow(row, f"{split}-{number}", reference, text, answers, split=split, slices=tuple(aspects))
