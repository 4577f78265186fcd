"""Reads COCO and Flickr30k with the splits of Karpathy and Fei-Fei (2015, arXiv:1412.2306), five captions per image.

The file is one JSON object (150 MB for COCO, the largest) and is parsed at once. The tokens, most of its content, are
discarded while parsing.
"""

import json
from pathlib import Path
from typing import Any

import polars as pl

from pipeline_lib.catalogue.schema import Records
from pipeline_lib.datasets.captions import CAPTIONED, captioned_records
from pipeline_lib.datasets.table_file import find_table
from pipeline_lib.params.data import DataParams

SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}


def read_karpathy(data: DataParams) -> Records:
    """Return the records of the JSON file in data.root.

    Images are in data.image_folder, with or without the folder that `filepath` names. Raises ValueError with the file,
    the image's number and the value of a fault.
    """
    root = Path(data.root)
    path = find_table(root, data.table, ".json")
    rows = [_row(path, row, image) for row, image in enumerate(_images(path), start=1)]
    images = pl.DataFrame(rows, schema=CAPTIONED, orient="row")
    return captioned_records(path.name, images, root, data.image_folder)


def _images(path: Path) -> list[Any]:
    try:
        with path.open(encoding="utf-8-sig") as stream:
            content = json.load(stream, object_hook=_without_tokens)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not UTF-8; download the file again") from None
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: not JSON at character {error.pos} ({error.msg}); download the file again, it may be truncated"
        ) from None
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not images:
        raise ValueError(
            f"{path}: no list of `images` in it; name a Karpathy file (dataset_coco.json, say) in data.table"
        )
    return images


def _without_tokens(entry: dict[str, Any]) -> dict[str, Any]:
    if "raw" in entry:
        entry.pop("tokens", None)
    return entry


def _row(path: Path, row: int, image: Any) -> tuple[int, str, list[str], str]:
    if not isinstance(image, dict) or not isinstance(image.get("filename"), str):
        raise ValueError(f"{path}: image {row}: {str(image)[:60]!r} has no filename; download the file again")
    split = image.get("split")
    if split not in SPLITS:
        raise ValueError(f"{path}: image {row} ({image['filename']}): split = {split!r}; known: {', '.join(SPLITS)}")
    captions = []
    for sentence in image.get("sentences", []):
        text = sentence.get("raw", " ".join(sentence.get("tokens", []))) if isinstance(sentence, dict) else None
        if not isinstance(text, str):
            raise ValueError(
                f"{path}: image {row} ({image['filename']}): sentence {str(sentence)[:60]!r} has no `raw` text; "
                "download the file again"
            )
        captions.append(text)
    folder = image.get("filepath")
    return row, f"{folder}/{image['filename']}" if folder else image["filename"], captions, SPLITS[split]
