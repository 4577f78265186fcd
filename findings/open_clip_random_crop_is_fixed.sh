#!/usr/bin/env bash
# open_clip_torch 3.3.0: of a 2:3 photo, the random crop of training is the same one every time; head and foot of a tall
#             product are never seen.
#
# Expected: the training transform crops 90 to 100 % of a photo at random places, so each epoch sees other pixels, and
#           hardly anything is lost.
# Happens:  RandomResizedCrop draws an area and an aspect ratio of 3:4 to 4:3, and tries ten times whether such a crop
#           fits. 90 % of the area of a photo that is longer than 1.48:1 never fits. Then it takes the largest 3:4 from
#           the middle, whatever `scale` says: 1,000 of 1,000 crops are one picture, of 2:3 photos (fashion) 89 % of the
#           area, of 9:16 (phones) 75 %, of 2:5 (lamps, dresses) 53 %. There is no augmentation at all, as open_clip
#           does not flip. Below, 100 lamps that differ in their shade alone are one picture in training, with 100
#           texts, and 100 pictures at prediction by models that squash (SigLIP), whose resize_mode training ignores.
#           With scale (0.5, 1) 95 % of the crops of a 2:5 photo are that one. Square photos show nothing of it, and
#           the `ratio` that would help is not used without use_timm. The transforms of torchvision and timm do the
#           same with such a scale.
# Do:       Resize((size, size)) before the crop for models that squash; Resize(size), RandomCrop(size) for others.
# Versions: open_clip_torch 3.3.0, timm 1.0.31, torch 2.15.0, torchvision 0.29.2 (6 GB of packages), pillow 13.0.0,
#           Python 3.11.7
# Date:     2026-11-30
# Matters for: `train.augment: clip`, which draws a place for such a crop (pipeline_lib/transforms/image.py), and for
#           models that were tuned by open_clip.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check open_clip_torch==3.3.0 timm==1.0.31 \
  torch==2.15.0 torchvision==0.29.2 pillow==13.0.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import collections
import sys

import numpy
import open_clip
import PIL
import timm
import torch
import torchvision
from PIL import Image, ImageDraw
from torchvision.transforms import Compose, RandomCrop, Resize, ToTensor

print(f"open_clip_torch {open_clip.__version__}, timm {timm.__version__}, torch {torch.__version__}")
print(f"torchvision {torchvision.__version__}, pillow {PIL.__version__}, Python {sys.version.split()[0]}")
torch.set_num_threads(1)
torch.manual_seed(0)
SIZE, DRAWS = 64, 1_000
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def photo(width, height):
    """Return a photo whose red and green say the row and the column of each pixel, from 0 to 1."""
    rows, columns = numpy.mgrid[0:height, 0:width]
    pixels = numpy.stack([255 * rows / (height - 1), 255 * columns / (width - 1), 0 * rows], axis=2)
    return Image.fromarray(pixels.round().astype(numpy.uint8))


def training(scale=(0.9, 1.0), **more):
    return open_clip.image_transform(SIZE, is_train=True, aug_cfg={"scale": scale, **more}, **PLAIN)


def measured(name, transform, image):
    """Return the number of distinct crops, the share of the most frequent one, and the rows that any crop has seen."""
    seen, top, bottom = collections.Counter(), 1.0, 0.0
    for _ in range(DRAWS):
        crop = transform(image)
        seen[crop.numpy().tobytes()] += 1
        top, bottom = min(top, crop[0].min().item()), max(bottom, crop[0].max().item())
    share = max(seen.values()) / DRAWS
    print(f"{name}: {len(seen)} different crops, {share:.0%} are one; rows {top:.2f} to {bottom:.2f} are ever seen")
    return len(seen), share, bottom - top


found = {}
for name, height in (("1:1", 240), ("3:4", 320), ("2:3", 360), ("9:16", 427), ("2:5", 600)):
    found[name] = measured(f"{name}, scale 0.9 to 1", training(), photo(240, height))
found["half"] = measured("2:5, scale 0.5 to 1", training((0.5, 1.0)), photo(240, 600))
found["timm"] = measured("2:3, by timm", training(use_timm=True), photo(240, 360))
squashed = Compose([Resize((SIZE, SIZE)), training()])
found["squashed"] = measured("2:5, squashed before the crop", squashed, photo(240, 600))
shifted = Compose([Resize(SIZE), RandomCrop(SIZE), ToTensor()])
found["shifted"] = measured("2:5, a random square", shifted, photo(240, 600))


def lamp(number):
    """Return a lamp of 9:16 whose shade, in the upper eighth, has a colour of its own."""
    image = Image.new("RGB", (270, 480), "white")
    pen = ImageDraw.Draw(image)
    pen.rectangle((125, 50, 145, 470), fill="black")
    pen.rectangle((60, 5, 210, 50), fill=(25 * (number % 10), 25 * (number // 10), 120))
    return image


squash = open_clip.image_transform(SIZE, is_train=False, resize_mode="squash", **PLAIN)
train = open_clip.image_transform(SIZE, is_train=True, resize_mode="squash", **PLAIN)
pictures = {}
for name, transform in (("training", train), ("prediction", squash), ("training, squashed before the crop", squashed)):
    pictures[name] = len({transform(lamp(number)).numpy().tobytes() for number in range(100)})
    print(f"100 lamps in {name}: {pictures[name]} different pictures")

fixed = [found[name] for name in ("2:3", "9:16", "2:5", "timm")]
if not (all(count == 1 for count, _, _ in fixed) and found["half"][1] > 0.9 and found["1:1"][0] > 100):
    sys.exit("the crops of long photos have changed")
if not (pictures["training"] == 1 and pictures["prediction"] == 100 and found["2:5"][2] < 0.6):
    sys.exit("what the crops show has changed")
if not min(found["squashed"][0], found["shifted"][0]) > 50:
    sys.exit("the ways out have changed")
PYTHON
