"""Writes MUGE in both its formats with real JPEGs, six images per split."""

import base64
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

# Split -> query id, text, image ids: an image with two texts, texts with two images, an image without a query.
QUERIES = {
    "train": [(1, "红色 杯子", [11, 12]), (2, "陶瓷杯", [11]), (3, "蓝 帽", [13]), (4, "帽子", [13, 14, 15])],
    "valid": [(5, "绿 灯", [21]), (6, "红 灯", [22, 23]), (7, "灯", [21, 22, 23, 24, 25, 26])],
    "test": [(8, "蓝 灯", []), (9, "红 帽", [])],
}
FIRST_ID = {
    "train": 11,
    "valid": 21,
    "test": 11,
}  # test has the ids of train, because ids are unique only within a split
FORMATS = {"queries": ("query_id", "query_text", "item_ids"), "texts": ("text_id", "text", "image_ids")}


def jpeg(number: int) -> bytes:
    """Return a JPEG of random colour patches, so that no two photos are near-duplicates."""
    patches = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(patches).resize((60, 60)).save(buffer, "JPEG")
    return buffer.getvalue()


def encoded(number: int, data: bytes) -> bytes:
    """Return base64: for odd numbers in the urlsafe alphabet without padding, for even ones in the standard one."""
    return base64.urlsafe_b64encode(data).rstrip(b"=") if number % 2 else base64.b64encode(data)


def write_muge(
    root: Path, file_format: str = "queries", splits=("train", "valid", "test"), count: int = 6
) -> dict[str, bytes]:
    """Write the splits with `count` images each; return each product's JPEG by its id."""
    photos = {}
    root.mkdir(exist_ok=True)
    for position, split in enumerate(splits):
        lines = []
        for number in range(FIRST_ID[split], FIRST_ID[split] + count):
            photos[f"{split}-{number}"] = jpeg(100 * position + number)
            lines.append(b"%d\t%s\n" % (number, encoded(number, photos[f"{split}-{number}"])))
        (root / f"{split}_imgs.tsv").write_bytes(b"".join(lines))
        key, text, answers = FORMATS[file_format]
        lines_of_queries = [
            {key: one, text: words} | ({answers: ids} if ids else {}) for one, words, ids in QUERIES[split]
        ]
        rows = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines_of_queries)
        (root / f"{split}_{file_format}.jsonl").write_text(rows, encoding="utf-8")
    return photos
