#!/usr/bin/env bash
# datasets 5.2.0: one photo named wooden-train-set.jpg makes `imagefolder` drop all other photos, and the labels.
#
# Expected: a folder of photos in a folder for each class is read as one split `train` with the folders as labels.
#           Splits are folders called train and test, as in the documentation of imagefolder.
# Happens:  every path is searched for train, training, val, valid, validation, dev, test, testing, eval and
#           evaluation as words between - . _ digits or spaces, in folders and in file names. If any is found, the
#           files with such a word are the dataset and the rest is left out: one toy train in a catalogue of 2,001
#           photos leaves 1 photo, a category `dev-boards` leaves only itself. Names made of titles have such words
#           sooner or later. Labels go as well, because a single folder is left. Nothing is printed; in a large
#           catalogue with some hundred such names it looks like a dataset. The guide to file names on the Hub lists
#           the words; that all other files are left out it does not say. A metadata.csv leaves out the photos that it
#           does not list, without a word too.
# Do:       pass the files: data_files={"train": "photos/**"}; and count the rows.
# Versions: datasets 5.2.0, pillow 13.0.0, Python 3.11.7
# Date:     2026-11-30
# Matters for: catalogues that are brought through datasets (docs/own-catalogue.md); our own readers have no such
#           words.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check datasets==5.2.0 pillow==13.0.0
export HF_HOME="$folder/home" HF_HUB_OFFLINE=1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

from datasets import disable_progress_bars, load_dataset
from PIL import Image

disable_progress_bars()
print(f"datasets {version('datasets')}, pillow {version('pillow')}, Python {sys.version.split()[0]}")
shop = [f"{kind}/{kind}-{number}.jpg" for kind in ("shoes", "toys") for number in range(1_000)]


def read(name, photos, table=None, **arguments):
    """Return what load_dataset makes of a folder with these photos: split -> rows and whether there are labels."""
    root = Path(sys.argv[1]) / name
    for photo in photos:
        (root / photo).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / photo)
    if table:
        (root / "metadata.csv").write_text("file_name,text\n" + "".join(f"{photo},a\n" for photo in table))
    if arguments:
        arguments = {"data_files": {"train": f"{root}/**"}}
    splits = load_dataset("imagefolder", **(arguments or {"data_dir": str(root)}))
    found = {split: (rows.num_rows, "label" in rows.features) for split, rows in splits.items()}
    print(f"{name}: {len(photos)} photos -> " + ", ".join(f"{split} {rows} rows, labels: {label}"
          for split, (rows, label) in found.items()))
    return found


found = [
    read("plain", shop),
    read("one file with a word", [*shop, "toys/wooden-train-set.jpg"]),
    read("one folder with a word", [*shop, "dev-boards/board-1.jpg", "dev-boards/board-2.jpg"]),
    read("the same with data_files", [*shop, "toys/wooden-train-set.jpg"], data_files=True),
    read("a table of 1,200 photos", shop, table=shop[:1_200]),
]
if found != [
    {"train": (2_000, True)}, {"train": (1, False)}, {"validation": (2, False)}, {"train": (2_001, True)},
    {"train": (1_200, False)},
]:
    sys.exit("the behaviour has changed")
PYTHON
