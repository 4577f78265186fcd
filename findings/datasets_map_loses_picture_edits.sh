#!/usr/bin/env bash
# datasets 5.2.0: what `map` draws into a picture of a file is lost: the new dataset points to the old file.
#
# Expected: `map` stores the pictures that the function returns. A function that makes each picture smaller
#           (`Image.thumbnail`) or paints over a price tag (`ImageDraw`), both of which change the picture in place,
#           gives a dataset of small pictures or of pictures without tags.
# Happens:  a picture that Pillow opened from a file still knows the file's name, and `map` then stores the name
#           alone. The row reads the original again: full size, tag and all. Nothing is printed, `map` takes as long
#           as if it had worked, and the same function works on pictures that the dataset holds as bytes (from Parquet
#           or WebDataset), so a trial on a sample of those proves nothing. A classifier then learns to read the tag.
# Do:       `picture = row["image"].copy()` first: a copy has no file name. A picture without one is stored as bytes:
#           in its `format` if it has one (JPEG at Pillow's quality 75), else as PNG, several times the size of the
#           JPEG.
# Versions: datasets 5.2.0, pillow 13.0.0, numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: photos that are prepared with datasets before they become a catalogue (docs/own-catalogue.md).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check datasets==5.2.0 pillow==13.0.0 numpy==2.4.6
export HF_HOME="$folder/home" HF_HUB_OFFLINE=1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from datasets import Dataset, Features, Image, disable_progress_bars
from PIL import Image as Pictures
from PIL import ImageDraw

disable_progress_bars()
names = ("datasets", "pillow", "numpy")
print(", ".join(f"{name} {version(name)}" for name in names), f"Python {sys.version.split()[0]}")
paths = [f"{sys.argv[1]}/{number}.jpg" for number in range(20)]
for path in paths:
    Pictures.new("RGB", (640, 480), "white").save(path)
features = Features({"image": Image()})
sources = {
    "files": Dataset.from_dict({"image": paths}, features=features),
    "bytes": Dataset.from_dict({"image": [{"bytes": open(path, "rb").read()} for path in paths]}, features=features),
}


def smaller(row):
    row["image"].thumbnail((224, 224))
    return row


def without_tag(row):
    ImageDraw.Draw(row["image"]).rectangle((0, 0, 640, 480), fill="black")
    return row


def copy_without_tag(row):
    return without_tag({"image": row["image"].copy()})


changed = {}
for source, dataset in sources.items():
    for function in (smaller, without_tag, copy_without_tag):
        pictures = [row["image"] for row in dataset.map(function)]
        count = sum(picture.size != (640, 480) or np.asarray(picture).mean() < 128 for picture in pictures)
        changed[source, function.__name__] = count
        print(f"pictures of {source}, {function.__name__}: {count} of {len(pictures)} are changed in the new dataset")
wanted = {pair: 0 if pair in {("files", "smaller"), ("files", "without_tag")} else 20 for pair in changed}
if changed != wanted:
    sys.exit("the behaviour has changed")
PYTHON
