"""MUGE in both its forms, six images a split, written on the spot with real JPEGs."""

import base64
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

# Split -> query id, text, image ids: an image with two texts, texts with two images, an image nobody asks for.
ASKED = {
    "train": [(1, "红色 杯子", [11, 12]), (2, "陶瓷杯", [11]), (3, "蓝 帽", [13]), (4, "帽子", [13, 14, 15])],
    "valid": [(5, "绿 灯", [21]), (6, "红 灯", [22, 23]), (7, "灯", [21, 22, 23, 24, 25, 26])],
    "test": [(8, "蓝 灯", []), (9, "红 帽", [])],
}
FIRST_ID = {"train": 11, "valid": 21, "test": 11}  # test has the numbers of train: ids are unique in a split only
FORMS = {"queries": ("query_id", "query_text", "item_ids"), "texts": ("text_id", "text", "image_ids")}


def jpeg(number: int) -> bytes:
    """Patches of random colours, so that no two photos are near-duplicates."""
    patches = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(patches).resize((60, 60)).save(buffer, "JPEG")
    return buffer.getvalue()


def encoded(number: int, data: bytes) -> bytes:
    """Odd numbers in the urlsafe alphabet without padding, even ones in the plain one."""
    return base64.urlsafe_b64encode(data).rstrip(b"=") if number % 2 else base64.b64encode(data)


def write_muge(
    root: Path, form: str = "queries", splits=("train", "valid", "test"), count: int = 6
) -> dict[str, bytes]:
    """Write the splits with `count` images each; return each product's JPEG by its id."""
    photos = {}
    root.mkdir(exist_ok=True)
    for place, split in enumerate(splits):
        lines = []
        for number in range(FIRST_ID[split], FIRST_ID[split] + count):
            photos[f"{split}-{number}"] = jpeg(100 * place + number)
            lines.append(b"%d\t%s\n" % (number, encoded(number, photos[f"{split}-{number}"])))
        (root / f"{split}_imgs.tsv").write_bytes(b"".join(lines))
        key, text, answers = FORMS[form]
        asked = [{key: one, text: words} | ({answers: ids} if ids else {}) for one, words, ids in ASKED[split]]
        rows = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in asked)
        (root / f"{split}_{form}.jsonl").write_text(rows, encoding="utf-8")
    return photos
