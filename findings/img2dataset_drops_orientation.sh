#!/usr/bin/env bash
# img2dataset 1.47.0: photos of phones lie on their side and PNGs of 16 bits are white; each is a "success".
#
# Expected: a photo is stored as a browser shows it, only smaller. Orientation is a number in EXIF; a program that
#           writes new pixels turns them by it, as OpenCV's imdecode does by itself, or copies the number.
# Happens:  img2dataset decodes with IMREAD_UNCHANGED, which has transparency and does not turn. The new file has no
#           EXIF, so ImageOps.exif_transpose does nothing either, and a photo that was taken upright lies for good, in
#           all resize modes and formats. Photos of a camera on a tripod are right, those of customers and of
#           second-hand goods are not: below, 2 % of 150 turned photos find their product by its pixels, and all of
#           those with orientation 1. A 16-bit PNG has 16 bits up to the JPEG, which cuts off what is above 255: it is
#           white. Width and height in the metadata are those of the lying photo.
# Do:       turn by `Image Orientation` in the field exif of each JSON, after which all find their product; or
#           disable_all_reencoding=True, which stores the files as they are. With skip_reencode, a JPEG that needs no
#           resizing still has its EXIF: turn only files that have none.
# Versions: img2dataset 1.47.0, opencv-python-headless 4.14.0.94, albumentations 1.4.24, pillow 13.0.0, numpy 2.4.6,
#           Python 3.11.7
# Date:     2026-11-30
# Matters for: catalogues that were downloaded with it; our own decoder turns photos and reads 16 bits
#           (pipeline_lib/transforms/decode.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  img2dataset==1.47.0 albumentations==1.4.24 opencv-python-headless==4.14.0.94 pillow==13.0.0 numpy==2.4.6
export NO_ALBUMENTATIONS_UPDATE=1 no_proxy=127.0.0.1
cd "$folder"
cat > download.py <<'PYTHON'
import functools
import http.server
import json
import sys
import threading
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from img2dataset import download
from PIL import Image, ImageDraw

ORIENTATION, TURNS = 0x0112, {6: 90, 8: 270, 3: 180}  # degrees, against the clock, from upright to stored
KINDS = [1] * 150 + [6] * 75 + [8] * 50 + [3] * 25 + [16] * 50  # an EXIF orientation, or 16 for a PNG of 16 bits


def product(draw):
    """Return a drawn product of 480 x 640, upright."""
    picture = Image.new("RGB", (480, 640), tuple(int(level) for level in draw.integers(150, 255, 3)))
    for _ in range(6):
        x, y, width, height = (int(number) for number in draw.integers((0, 0, 80, 80), (360, 480, 300, 300)))
        colour = tuple(int(level) for level in draw.integers(0, 255, 3))
        ImageDraw.Draw(picture).ellipse((x, y, x + width, y + height), fill=colour)
    return picture


def write(picture, kind, path):
    """Write a photo as a phone does, with its orientation in EXIF, or as a PNG of 16 bits; return the file's name."""
    if kind == 16:
        cv2.imwrite(f"{path}.png", np.asarray(picture)[:, :, ::-1].astype(np.uint16) * 257)
        return f"{path.name}.png"
    exif = Image.Exif()
    exif[ORIENTATION] = kind
    picture.rotate(TURNS.get(kind, 0), expand=True).save(f"{path}.jpg", quality=92, exif=exif)
    return f"{path.name}.jpg"


def vector(picture):
    numbers = np.asarray(picture.convert("RGB").resize((16, 16)), np.float32).ravel()
    return (numbers - numbers.mean()) / (numbers.std() + 1e-6)


def found(pictures, gallery, chosen):
    """Return the share of the chosen pictures whose nearest product of the gallery is the right one."""
    nearest = (np.stack([vector(pictures[number]) for number in chosen]) @ gallery.T).argmax(1)
    return float(np.mean(nearest == chosen))


def read(name, urls, **settings):
    """Download the photos and return pictures by number, metadata by number, and how many have an orientation."""
    download(str(urls), output_folder=name, thread_count=8, **settings)
    notes = [json.loads(path.read_text()) for path in sorted(Path(name).glob("*/*.json"))]
    numbers = {int(note["key"]): note for note in notes}
    paths = {number: f"{name}/{note['key'][:5]}/{note['key']}.jpg" for number, note in numbers.items()}
    pictures = {number: Image.open(path) for number, path in paths.items()}
    return pictures, numbers, sum(ORIENTATION in picture.getexif() for picture in pictures.values())


def main():
    names = ("img2dataset", "opencv-python-headless", "albumentations", "pillow", "numpy")
    print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
    draw = np.random.default_rng(0)
    Path("photos").mkdir()
    products = [product(draw) for _ in KINDS]
    files = [write(products[number], kind, Path("photos") / f"{number:04}") for number, kind in enumerate(KINDS)]
    http.server.SimpleHTTPRequestHandler.log_message = lambda *_: None
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory="photos")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    urls = Path("urls.txt")
    urls.write_text("".join(f"http://127.0.0.1:{server.server_port}/{file}\n" for file in files))
    pictures, notes, tagged = read("resized", urls, resize_mode="keep_ratio")
    gallery = np.stack([vector(picture) for picture in products])
    kinds = np.array(KINDS)
    groups = {"upright": kinds == 1, "turned": (kinds > 1) & (kinds < 16), "of 16 bits": kinds == 16}
    shares = {}
    for name, group in groups.items():
        chosen = np.flatnonzero(group)
        shares[name] = found(pictures, gallery, chosen)
        white = np.mean([(np.asarray(pictures[number]) >= 250).all(2).mean() for number in chosen])
        done = sum(notes[number]["status"] == "success" for number in chosen)
        print(f"{len(chosen)} {name}: {done} success, {100 * shares[name]:.0f} % find their product,", end=" ")
        print(f"{100 * white:.0f} % of the pixels are white")
    words = {number: json.loads(note["exif"]).get("Image Orientation", "") for number, note in notes.items()}
    print(f"{tagged} files have an orientation; in their JSON: {dict(Counter(words.values()))}")
    back = {"Rotated 90 CW": 270, "Rotated 90 CCW": 90, "Rotated 180": 180}
    upright = {number: picture.rotate(back.get(words[number], 0), expand=True) for number, picture in pictures.items()}
    turned = found(upright, gallery, np.flatnonzero(groups["turned"]))
    print(f"turned by the words in the JSON: {100 * turned:.0f} % of the turned photos find their product")
    _, _, copied = read("copied", urls, disable_all_reencoding=True)
    print(f"with disable_all_reencoding {copied} files have an orientation")
    if shares["upright"] < 0.99 or shares["turned"] > 0.1 or shares["of 16 bits"] > 0.5 or tagged or turned < 0.99:
        sys.exit("the behaviour has changed")


if __name__ == "__main__":
    main()
PYTHON
venv/bin/python download.py
