#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93: INTER_AREA to 224 x 224 averages a photo of 900 x 224 pixels; of one of 900 x 223
#             it reads half of the columns: Recall@1 1.000 and .595.
#
# Expected: INTER_AREA is "resampling using pixel area relation" and "gives moire'-free results" when a picture is
#           shrunk: the longer side is averaged, and the shorter one, which is enlarged, is repeated.
# Happens:  if one side is enlarged, if only by a pixel, both are interpolated between two neighbours. Of four columns
#           two are read, with weights of .25 and .75, so there is more moire than in INTER_LINEAR (.5 and .5,
#           Recall@1 .640): the contrast of cloth with threads of 3 to 5 pixels is 44 in place of 12. Straps,
#           necklaces, banners and flat random crops are squashed like this; photos of usual shapes, as in a trial,
#           are averaged. It is the same in 4.14.0.94. (OpenCV's issue 21472, open since 2022, shows three pixels.)
# Do:       shrink the longer side first, then enlarge the other one (two steps); Pillow filters each side by itself.
# Versions: opencv-python-headless 5.0.0.93 and 4.14.0.94, pillow 13.0.0, numpy 2.4.6, Python 3.11.7
# Date:     2026-11-30
# Matters for: photos that were resized before they come here, and models that were tuned on such; our `squash` is
#           Pillow's (pipeline_lib/transforms/image.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/trial.py" <<'PYTHON'
import sys
from importlib.metadata import version

import cv2
import numpy as np
from PIL import Image

names = ("opencv-python-headless", "pillow", "numpy")
print(", ".join(f"{name} {version(name)}" for name in names) + f", Python {sys.version.split()[0]}")
PRODUCTS, SIZE, BLOCK, WIDTH = 200, 224, 8, 900


def photo(product, width, height):
    """Return a strap, grey: a smooth pattern of its own along a cloth whose threads are 3 to 5 pixels wide at 900."""
    own = np.random.default_rng(product)
    along = (np.arange(4 * width) + 0.5) / (4 * width)
    heights, starts = own.normal(size=6), own.uniform(0, 2 * np.pi, 6)
    waves = np.cos(2 * np.pi * np.outer(np.arange(1, 7), along) + starts[:, None])
    cloth = np.sign(np.cos(2 * np.pi * own.uniform(180, 300) * along + own.uniform(0, 2 * np.pi)))
    line = (128 + 6 * heights @ waves + 60 * cloth).clip(0, 255).reshape(width, 4).mean(1)  # as a camera averages
    return np.tile(line.round().astype(np.uint8), (height, 1))


def by_area(image):
    return cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def by_two_steps(image):
    """Shrink each side that is too long before the other one is enlarged."""
    height, width = image.shape
    shrunk = cv2.resize(image, (min(width, SIZE), min(height, SIZE)), interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)


def by_linear(image):
    return cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)


def by_pillow(image):
    return np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BOX))


def vector(square):
    """Return the means of blocks of 8 x 8 pixels, centred, of length 1: a network sees the coarse pattern so."""
    blocks = square.astype(float).reshape(SIZE // BLOCK, BLOCK, SIZE // BLOCK, BLOCK).mean((1, 3)).ravel()
    blocks -= blocks.mean()
    return blocks / np.linalg.norm(blocks)


# Another photo of each product, of a size that both sides shrink.
queries = np.stack([vector(by_area(photo(product, 1200, 240))) for product in range(PRODUCTS)])
result, read = {}, {}
for height in (120, 223, 224, 300):
    photos = [photo(product, WIDTH, height) for product in range(PRODUCTS)]
    for resize in (by_area, by_two_steps, by_linear, by_pillow):
        squares = [resize(image) for image in photos]
        found = (queries @ np.stack([vector(square) for square in squares]).T).argmax(1)
        recall = round(float((found == np.arange(PRODUCTS)).mean()), 3)
        contrast = round(float(np.mean([square.std() for square in squares])), 1)
        result[resize.__name__, height] = recall, contrast
        print(f"{WIDTH} x {height} {resize.__name__[3:].replace('_', ' ')}: Recall@1 {recall}, contrast {contrast}")
# The weight of each of the 900 columns in the square: all equal in an average.
single = np.zeros((WIDTH, 3, WIDTH), np.float32)
single[np.arange(WIDTH), :, np.arange(WIDTH)] = 1
for name, method in (("INTER_AREA", cv2.INTER_AREA), ("INTER_LINEAR", cv2.INTER_LINEAR)):
    weights = [float(cv2.resize(one, (SIZE, SIZE), interpolation=method)[0].sum()) for one in single]
    read[name] = float(np.mean(np.array(weights) > 0))
    shown = ", ".join(f"{weight:.2f}" for weight in weights[:8])
    print(f"{WIDTH} x 3 {name}: {read[name]:.2f} of the columns are read, weights {shown}, ...")
sound = [found[0] for (way, _), found in result.items() if way in ("by_two_steps", "by_pillow")]
area = {height: recall for (way, height), (recall, _) in result.items() if way == "by_area"}
if min(*sound, area[224], area[300]) < 0.99 or max(area[120], area[223]) > 0.8 or read["INTER_AREA"] > 0.6:
    sys.exit("the behaviour has changed")
PYTHON
for release in 4.14.0.94 5.0.0.93; do
  python3 -m venv --clear "$folder/venv"
  "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "opencv-python-headless==$release" \
    pillow==13.0.0 numpy==2.4.6
  "$folder/venv/bin/python" "$folder/trial.py"
done
