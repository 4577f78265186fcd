#!/usr/bin/env bash
# transformers 5.23.0: DINOv3ViTImageProcessor reads a palette PNG as a grey picture of its palette's numbers.
#
# Expected: an image processor takes what Pillow opens: it converts to RGB, as those of CLIP, SigLIP and DINOv2 do, or
#           refuses other modes, as that of ViT does ("output with shape ... doesn't match the broadcast shape").
# Happens:  a PNG with a palette (mode P), which pngquant, TinyPNG and shops' "save for web" write and which looks like
#           the photo, has one channel of numbers into its palette. The processor takes them for brightness, blends
#           them when it resizes, and the mean of three channels makes three channels of one. pixel_values have the
#           right shape, alone or in a batch with RGB photos, and nothing is printed. Below, 0 of 300 drawn products are
#           found by their palette copy (300 after convert("RGB")), their colours are gone and what is white may be
#           black. GIFs have mode P as well, and pictures of mode 1 come out nearly black. EfficientNetImageProcessor
#           does the same. transformers' own load_image converts, so the documentation's example is right; Image.open
#           and the rows of datasets do not.
# Do:       picture.convert("RGB") before the processor, after composing a transparent one on white.
# Versions: transformers 5.23.0, torch 2.15.0, torchvision 0.29.2 (6 GB of packages), pillow 13.0.0, Python 3.11.7
# Date:     2026-11-30
# Matters for: vectors of DINOv3 that are made outside; our decoder gives RGB of every mode
#           (pipeline_lib/transforms/decode.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check transformers==5.23.0 torch==2.15.0 \
  torchvision==0.29.2 pillow==13.0.0 numpy==2.4.6
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON'
import io
import sys

import numpy
import PIL
import torch
import torchvision
import transformers
from PIL import Image, ImageDraw
from torch.nn import functional
from transformers import CLIPImageProcessor, EfficientNetImageProcessor, ViTImageProcessor
from transformers import DINOv3ViTConfig, DINOv3ViTImageProcessor, DINOv3ViTModel

print(f"transformers {transformers.__version__}, torch {torch.__version__}, torchvision {torchvision.__version__}")
print(f"pillow {PIL.__version__}, numpy {numpy.__version__}, Python {sys.version.split()[0]}")
torch.set_num_threads(1)
torch.manual_seed(0)
PRODUCTS = 300


def product(seed):
    """Return a picture of six coloured shapes on white."""
    draw = numpy.random.default_rng(seed)
    image = Image.new("RGB", (256, 256), "white")
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        left, top, width, height = (int(value) for value in (*draw.integers(10, 170, 2), *draw.integers(30, 80, 2)))
        shape = pen.ellipse if draw.random() < 0.5 else pen.rectangle
        shape((left, top, left + width, top + height), fill=tuple(int(value) for value in draw.integers(0, 256, 3)))
    return image.resize((320, 320), Image.Resampling.BICUBIC)


def reopened(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return Image.open(file)


photos = [product(seed) for seed in range(PRODUCTS)]
palette = [reopened(photo.quantize(256)) for photo in photos]
converted = [picture.convert("RGB") for picture in palette]
levels = numpy.abs(numpy.asarray(photos[0], float) - numpy.asarray(converted[0], float)).mean()
print(f"{PRODUCTS} pictures as PNGs of mode {palette[0].mode}; the first is {levels:.2f} levels of 255 off on average")

processor = DINOv3ViTImageProcessor()
config = DINOv3ViTConfig(hidden_size=192, intermediate_size=384, num_hidden_layers=3, num_attention_heads=3)
model = DINOv3ViTModel(config).eval()


def vectors(pictures):
    """Return pixel values and outputs of a DINOv3 with random weights, as unit vectors."""
    values = processor(images=pictures, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        outputs = torch.cat([model(some).pooler_output for some in values.split(50)])
    return values, [functional.normalize(one.flatten(1), dim=1) for one in (values, outputs)]


def found(pictures):
    """Return the share of pictures whose nearest photo is their own, by pixel values and by the model."""
    values, own = vectors(pictures)
    right = [(one @ other.T).argmax(1) == torch.arange(PRODUCTS) for one, other in zip(own, gallery, strict=True)]
    return values, [one.float().mean().item() for one in right]


_, gallery = vectors(photos)
shares = {}
for name, pictures in (("as opened", palette), ("after convert", converted)):
    values, shares[name] = found(pictures)
    white = values[0, :, 0, 0] * torch.tensor(processor.image_std) + torch.tensor(processor.image_mean)
    print(f"{name}: pixel_values {tuple(values.shape)}, the white corner is {white.numpy().round(2).tolist()}")
    print(f"{name}: Recall@1 by pixel values {shares[name][0]:.3f}, by a random DINOv3 {shares[name][1]:.3f}")
mixed = processor(images=[photos[0], palette[0]], return_tensors="pt")["pixel_values"]
print(f"an RGB and a palette picture in one call: {tuple(mixed.shape)}")

off = {}
for kind in (CLIPImageProcessor, EfficientNetImageProcessor, ViTImageProcessor):
    try:
        one, other = (kind()(images=image, return_tensors="pt")["pixel_values"] for image in (photos[0], palette[0]))
        off[kind] = (one - other).abs().mean().item()
        print(f"{kind.__name__}: pixel values differ by {off[kind]:.2f} on average")
    except (RuntimeError, ValueError) as error:
        off[kind] = None
        print(f"{kind.__name__}: {type(error).__name__}: {str(error)[:60]}")
if not (max(shares["as opened"]) < 0.1 and min(shares["after convert"]) > 0.95 and mixed.shape[0] == 2):
    sys.exit("the behaviour of DINOv3ViTImageProcessor has changed")
if not (off[CLIPImageProcessor] < 0.05 and off[EfficientNetImageProcessor] > 0.5 and off[ViTImageProcessor] is None):
    sys.exit("the other processors have changed")
PYTHON
