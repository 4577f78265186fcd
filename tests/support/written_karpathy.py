"""Writes a Karpathy file of six images with five captions each, with real JPEGs."""

import json

from written_muge import jpeg

SPLITS = ["train", "restval", "val", "val", "test", "test"]


def write_karpathy(root, filepath="val2014", name="dataset_coco.json", **changes):
    """Write six images with five captions each; `changes` replace keys of the second image."""
    (root / "images" / filepath).mkdir(parents=True, exist_ok=True)
    images = []
    for number, split in enumerate(SPLITS):
        file = f"COCO_val2014_{number:06d}.jpg"
        (root / "images" / filepath / file).write_bytes(jpeg(number))
        raw = [f"Caption {k} of  {number}.\n" for k in range(5)]
        sentences = [
            {"tokens": text.split(), "raw": text, "imgid": number, "sentid": 5 * number + k}
            for k, text in enumerate(raw)
        ]
        image = {"filename": file, "imgid": number, "split": split, "sentids": [], "sentences": sentences}
        images.append(image | ({"filepath": filepath, "cocoid": number} if filepath else {}))
    images[1] |= changes
    (root / name).write_text(json.dumps({"dataset": "coco", "images": images}), encoding="utf-8")
