#!/usr/bin/env bash
# datasets 5.2.0: the first five samples of the last split's first tar decide which photos, texts and fields
#           `load_dataset("webdataset")` reads; all others are dropped, and nothing is printed.
#
# Expected: each sample comes with the files that it has. If samples differ, the loader says so: with a PNG among the
#           first five JPEGs it raises that the samples do not have the same types.
# Happens:  from the sixth sample on there is no such check. A photo of another type (png, or JPG beside jpg) is left
#           out, so is a text, and a field of the JSON that the first five lack exists for none. With train and test in
#           one call, the columns are those of test: a test split without texts takes them from train. There are as
#           many rows as samples, so counting rows shows nothing. Streaming does the same. Code that skips samples
#           without a photo, as for dead links, then trains without the PNGs, often the cut-outs. A code in `.id` such
#           as 00123 is read as the number 123.
# Do:       pass features=Features({...}) with every type of file and every field, and count what is not None.
# Versions: datasets 5.2.0, pillow 13.0.0, Python 3.11.7
# Date:     2026-11-30
# Matters for: reading our tars by datasets: a clip has one to many frames (docs/outputs.md). Our own readers go by a
#           manifest.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check datasets==5.2.0 pillow==13.0.0
export HF_HOME="$folder/home" HF_HUB_OFFLINE=1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import io
import json
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

from datasets import Features, Image, Value, disable_progress_bars, load_dataset
from PIL import Image as Picture

disable_progress_bars()
print(f"datasets {version('datasets')}, pillow {version('pillow')}, Python {sys.version.split()[0]}")
COUNT = 300


def photo(kind):
    file = io.BytesIO()
    Picture.new("RGB", (8, 8), "red").save(file, kind)
    return file.getvalue()


PHOTOS = {"jpg": photo("JPEG"), "JPG": photo("JPEG"), "png": photo("PNG")}


def written(name, first_other=COUNT, text_from=0, colour_from=0, extension="png"):
    """Write a tar of COUNT products and return its path; from a number on, photos are of the other type."""
    path = Path(sys.argv[1]) / f"{name}.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(COUNT):
            kind = "jpg" if number < first_other else extension
            fields = {"title": "a shoe"} | ({"colour": "red"} if number >= colour_from else {})
            files = {kind: PHOTOS[kind], "json": json.dumps(fields).encode(), "id": f"{number:05}".encode()}
            for ending, data in (files | ({"txt": b"a red shoe"} if number >= text_from else {})).items():
                member = tarfile.TarInfo(f"{number:06}.{ending}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return str(path)


def read(name, split="train", streaming=False, features=None, **paths):
    """Print and return how many samples of a split have a photo, a text and a colour, or the error's first words."""
    try:
        data = load_dataset("webdataset", data_files=paths, split=split, streaming=streaming, features=features)
        rows = list(data)
    except ValueError as error:
        print(f"{name}: {str(error)[:200]}")
        return "error"
    photos = sum(row.get("jpg") is not None or row.get("png") is not None for row in rows)
    texts = sum(row.get("txt") is not None for row in rows)
    colours = sum(row["json"].get("colour") is not None for row in rows)
    print(f"{name}: {len(rows)} samples, {photos} with a photo, {texts} with a text, {colours} with a colour")
    return photos, texts, colours


same, unlabelled = written("same"), written("unlabelled", text_from=COUNT)
late, early = written("late", 200), written("early", 3)
fields = {"jpg": Image(), "png": Image(), "txt": Value("string"), "id": Value("string")}
fields |= {"json": {"title": Value("string"), "colour": Value("string")}}
fields |= {"__key__": Value("string"), "__url__": Value("string")}
found = [
    read("all jpg", train=same),
    read("png from the 4th sample on", train=early),
    read("png from the 201st on", train=late),
    read("the same, streaming", train=late, streaming=True),
    read("JPG from the 201st on", train=written("capitals", 200, extension="JPG")),
    read("a text from the 6th on", train=written("texts", text_from=5)),
    read("a colour from the 6th on", train=written("colours", colour_from=5)),
    read("train beside a test without texts", train=same, test=unlabelled),
    read("png from the 201st on, with features", train=late, features=Features(fields)),
]
number = load_dataset("webdataset", data_files={"train": same}, split="train")[123]["id"]
print(f"00123 in .id is read as {number!r}")
full = (COUNT, COUNT, COUNT)
short = (200, COUNT, COUNT)
no_text, no_colour = (COUNT, 0, COUNT), (COUNT, COUNT, 0)
if found != [full, "error", short, short, short, no_text, no_colour, no_text, full] or number != 123:
    sys.exit("the behaviour has changed")
PYTHON
