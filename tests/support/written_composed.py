"""Writes CIRR, FashionIQ and CIRCO in their published forms with real JPEGs, six pictures and a few queries a split."""

import json
from pathlib import Path

from written_muge import jpeg


def dump(path: Path, value: object) -> None:
    """Write a JSON file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def save(path: Path, number: int) -> None:
    """Write a picture of random patches and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg(number))


def cirr_entry(split: str, pair: int, reference: int, target: int | None, soft: dict[int, float]) -> dict:
    """Return one query as CIRR's caption files have it: test1 has neither target nor soft answers."""
    names = [f"{split}-{number}-0-img0" for number in range(6)]
    entry = {"pairid": pair, "reference": names[reference], "caption": f"make it {pair}"}
    if target is not None:
        entry |= {"target_hard": names[target], "target_soft": {names[one]: value for one, value in soft.items()}}
    members = {"id": pair, "members": names, "reference_rank": 1, "target_rank": 2}
    return entry | {"img_set": members}


# Split in the files -> (pair id, reference, target, soft answers) over pictures 0 .. 5.
CIRR = {
    "train": [(1, 0, 1, {1: 1.0, 2: 0.5, 3: -1}), (2, 2, 3, {3: 1.0})],
    "val": [(11, 0, 1, {1: 1.0, 4: 0.2}), (12, 1, 5, {5: 1.0, 0: -1})],
    "test1": [(21, 3, None, {}), (22, 4, None, {})],
}


def write_cirr(root: Path) -> None:
    """Write the three splits; train pictures are in numbered folders, as in the archive."""
    for position, (split, queries) in enumerate(CIRR.items()):
        folder = {"train": "train/34", "val": "dev", "test1": "test1"}[split]
        names = [f"{split}-{number}-0-img0" for number in range(6)]
        dump(root / f"image_splits/split.rc2.{split}.json", {name: f"./{folder}/{name}.png" for name in names})
        dump(root / f"captions/cap.rc2.{split}.json", [cirr_entry(split, *query) for query in queries])
        for number, name in enumerate(names):
            save(root / f"img_raw/{folder}/{name}.png", 100 * position + number)


def write_fashion_iq(root: Path) -> None:
    """Write dresses and shirts in three splits with three products each; test has no targets."""
    number = 0
    for category in ("dress", "shirt"):
        for split in ("train", "val", "test"):
            asins = [f"B{category[0]}{split}{row}" for row in range(3)]
            entries = [
                {"candidate": asins[0], "target": asins[1], "captions": ["is red.", "has a longer sleeve"]},
                {"candidate": asins[1], "target": asins[2], "captions": ["is more formal", ""]},
            ]
            if split == "test":
                entries = [{key: value for key, value in one.items() if key != "target"} for one in entries]
            dump(root / f"captions/cap.{category}.{split}.json", entries)
            dump(root / f"image_splits/split.{category}.{split}.json", asins)
            for asin in asins:
                number += 1
                save(root / f"images/{asin}.jpg", 500 + number)


def write_circo(root: Path, train: bool = False) -> None:
    """Write the listing of eight images of which six are in the archive's folder, and val and test; perhaps train."""
    listing = [{"id": number, "file_name": f"{number:012d}.jpg", "width": 60, "height": 60} for number in range(1, 9)]
    dump(root / "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json", {"info": {}, "images": listing})
    for number in range(1, 7):
        save(root / f"COCO2017_unlabeled/unlabeled2017/{number:012d}.jpg", 700 + number)
    common = {"shared_concept": "a bird", "img_set": None}
    val = [
        (0, 1, 2, [2, 3, 4], ["cardinality", "addition"]),
        (1, 4, 5, [5], ["negation"]),
    ]
    dump(
        root / "annotations/val.json",
        [
            {"id": key, "reference_img_id": reference, "target_img_id": target, "gt_img_ids": truths}
            | {"relative_caption": f"more of {key}", "semantic_aspects": aspects}
            | common
            for key, reference, target, truths, aspects in val
        ],
    )
    test = [(0, 2), (1, 6)]
    entries = [{"id": key, "reference_img_id": one, "relative_caption": f"other {key}"} | common for key, one in test]
    dump(root / "annotations/test.json", entries)
    if train:
        row = {"id": 0, "reference_img_id": 901, "target_img_id": 902, "relative_caption": "at night"}
        dump(root / "annotations/train.json", [row])
        for number in (901, 902):
            save(root / f"images/COCO_train2014_{number:012d}.jpg", 800 + number)
