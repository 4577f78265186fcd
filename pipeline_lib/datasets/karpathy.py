"""Reads COCO and Flickr30k with the splits of Karpathy and Fei-Fei (2015, arXiv:1412.2306), five captions per image.

The file is one JSON object (150 MB for COCO, the largest) and is parsed at once. The tokens, most of its content, are
discarded while parsing.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from pipeline_lib.artifacts.messages import show
from pipeline_lib.catalogue.schema import REJECTS, RETAINED, Records
from pipeline_lib.catalogue.strings import HALF_CHARACTER, drop_half_characters
from pipeline_lib.datasets.captions import CAPTIONED, captioned_records, image_id
from pipeline_lib.datasets.columns import SPLIT_NAMES
from pipeline_lib.datasets.json_file import load_json
from pipeline_lib.datasets.product_ids import HALF_DROPPED
from pipeline_lib.datasets.table_file import find_table
from pipeline_lib.params.data import DataParams

SPLITS = SPLIT_NAMES | {"restval": "train"}


def read_karpathy(data: DataParams) -> Records:
    """Return the records of the JSON file in data.root.

    Images are in data.image_folder, with or without the folder that `filepath` names. Raises ValueError with the file,
    the image's number and the value of a fault.
    """
    root = Path(data.root)
    path = find_table(root, data.table, ".json")
    rows = [_row(path, row, image) for row, image in enumerate(_images(path), start=1)]
    full = [(row, image, [drop_half_characters(text) for text in texts], split) for row, image, texts, split in rows]
    records = captioned_records(path.name, pl.DataFrame(full, schema=CAPTIONED, orient="row"), root, data.image_folder)
    halved = [
        (row, image_id(image), path.name, HALF_DROPPED, text, RETAINED)
        for (row, image, texts, _), (*_, originals, _) in zip(full, rows, strict=True)
        for text, original in zip(texts, originals, strict=True)
        if text != original
    ]
    notes = pl.DataFrame(halved, schema=REJECTS, orient="row")
    return replace(records, rejects=pl.concat([records.rejects, notes]))


def _images(path: Path) -> list[Any]:
    content = load_json(path, _without_tokens)
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not images:
        raise ValueError(
            f"{path}: no list of `images` in it; name a Karpathy file (dataset_coco.json, say) in data.table"
        )
    return images


def _without_tokens(entry: dict[str, Any]) -> dict[str, Any]:
    if isinstance(entry.get("raw"), str):
        entry.pop("tokens", None)
    return entry


def _row(path: Path, row: int, image: Any) -> tuple[int, str, list[str], str]:
    name = image.get("filename") if isinstance(image, dict) else None
    folder = image.get("filepath") if isinstance(image, dict) else None
    if not isinstance(name, str) or not isinstance(folder, str | None) or HALF_CHARACTER.search(name + (folder or "")):
        raise ValueError(f"{path}: image {row}: {show(image)} has no filename in UTF-8; download the file again")
    where = f"{path}: image {row} ({name})"
    split = image.get("split")
    if not isinstance(split, str) or split not in SPLITS:
        raise ValueError(f"{where}: split = {show(split)}; known: {', '.join(SPLITS)}")
    sentences = image.get("sentences") or []
    if not isinstance(sentences, list):
        raise ValueError(f"{where}: sentences = {show(sentences)}; write a list")
    return row, f"{folder}/{name}" if folder else name, [_text(where, one) for one in sentences], SPLITS[split]


def _text(where: str, sentence: Any) -> str:
    """Return a sentence's `raw` text, else its tokens joined by spaces."""
    text = sentence.get("raw") if isinstance(sentence, dict) else None
    tokens = sentence.get("tokens") if isinstance(sentence, dict) and text is None else None
    if isinstance(tokens, list) and all(isinstance(token, str) for token in tokens):
        text = " ".join(tokens)
    if not isinstance(text, str):
        raise ValueError(f"{where}: sentence {show(sentence)} has no `raw` text and no list of words as `tokens`")
    return text
