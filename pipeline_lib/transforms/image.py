"""Views: one decoded picture -> the square uint8 pixels a tower sees.

Crop and resize are one step (`resize` with a box), so a picture of 1 x 100,000 costs no more than any other; the
pixels are those of resize, then crop, to within rounding. All chance comes from a generator made of (seed, epoch,
row): a resumed run draws what the unbroken one would have drawn. Views that begin with the fixed one say so
(`AFTER_FIXED`), so that its pixels can be kept from epoch to epoch.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline_lib.artifacts.digests import digest_value
from pipeline_lib.transforms.colour import grey_and_blur, jitter

Pixels = npt.NDArray[np.uint8]
View = Callable[[Image.Image, int, np.random.Generator, float], Pixels]
AfterFixed = Callable[[Pixels, tuple[int, ...]], Pixels]

VERSION = 1  # of the fixed view and of decode: raise it when the same bytes would give other pixels
CLIP_MARGIN = 32
CROP_TRIES = 10
CROP_RATIOS = (3 / 4, 4 / 3)


def resize_and_crop(image: Image.Image, size: int) -> Pixels:
    """Return (3, size, size): the shorter side resized to `size` pixels, then the centre."""
    return _planes(_resized_and_cropped(image, size))


def fixed_view(image: Image.Image, size: int) -> Pixels:
    """Return what `resize_and_crop` does as a picture lies in memory, (size, size, 3)."""
    return np.asarray(_resized_and_cropped(image, size))


def clip_view(image: Image.Image, size: int, rng: np.random.Generator, crop_scale: float) -> Pixels:
    """Return (3, size, size): shrunk to size + 32, a random crop of `crop_scale` to 1 of it, by chance mirrored.

    The shorter side is shrunk to size + 32 pixels, never enlarged; `decode` leaves at least that many for any size
    from 32 on. The crop's sides are 3:4 to 4:3. Source: Resize and RandomResizedCrop of torchvision.
    """
    shrink = (size + CLIP_MARGIN) / min(image.size)
    if shrink < 1:
        shrunk = (max(1, round(image.width * shrink)), max(1, round(image.height * shrink)))
        image = image.resize(shrunk, Image.Resampling.BICUBIC)
    return _maybe_mirrored(_resize_box(image, size, _random_box(image.width, image.height, rng, crop_scale)), rng)


def jitter_flip_view(image: Image.Image, size: int, rng: np.random.Generator, crop_scale: float) -> Pixels:
    """Return (3, size, size): the fixed view in colours of chance, mirrored half the time."""
    return _jittered(_resized_and_cropped(image, size), rng)


def grayscale_blur_view(image: Image.Image, size: int, rng: np.random.Generator, crop_scale: float) -> Pixels:
    """Return (3, size, size): the fixed view, by chance grey and by chance blurred; never mirrored."""
    return _blurred(_resized_and_cropped(image, size), rng)


def preprocessing_fingerprint(size: int, mean: Sequence[float], std: Sequence[float], **more: object) -> str:
    """Return the identity of the fixed view at `size` pixels, normalised by `mean` and `std` of each channel."""
    channels = {"mean": [float(value) for value in mean], "std": [float(value) for value in std]}
    return digest_value({"version": VERSION, "view": "none", "resample": "bicubic", "size": size, **channels, **more})


def _fixed(image: Image.Image, size: int, rng: np.random.Generator, crop_scale: float) -> Pixels:
    return resize_and_crop(image, size)


def _jittered(fixed: Image.Image, rng: np.random.Generator) -> Pixels:
    return _maybe_mirrored(_planes(jitter(fixed, rng)), rng)


def _blurred(fixed: Image.Image, rng: np.random.Generator) -> Pixels:
    return _planes(grey_and_blur(fixed, rng))


def _with_chance(function: Callable[[Image.Image, np.random.Generator], Pixels]) -> AfterFixed:
    return lambda fixed, seed: function(Image.fromarray(fixed), np.random.default_rng(seed))


def _resized_and_cropped(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    shorter = min(width, height)
    resized = (max(size, round(width * size / shorter)), max(size, round(height * size / shorter)))
    left, top = (resized[0] - size) // 2, (resized[1] - size) // 2
    x_scale, y_scale = width / resized[0], height / resized[1]
    box = (left * x_scale, top * y_scale, (left + size) * x_scale, (top + size) * y_scale)
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box)


def _resize_box(image: Image.Image, size: int, box: tuple[float, float, float, float]) -> Pixels:
    return _planes(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


def _planes(image: Image.Image) -> Pixels:
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def _maybe_mirrored(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return np.ascontiguousarray(pixels[:, :, ::-1]) if rng.random() < 0.5 else pixels


def _random_box(width: int, height: int, rng: np.random.Generator, crop_scale: float) -> tuple[int, int, int, int]:
    for _ in range(CROP_TRIES):
        area = width * height * rng.uniform(crop_scale, 1.0)
        ratio = math.exp(rng.uniform(math.log(CROP_RATIOS[0]), math.log(CROP_RATIOS[1])))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left = int(rng.integers(width - wide + 1))
            top = int(rng.integers(height - high + 1))
            return left, top, left + wide, top + high
    # No crop of that shape fits a long picture: the largest one allowed, from its middle.
    wide = min(width, max(1, round(height * CROP_RATIOS[1])))
    high = min(height, max(1, round(width / CROP_RATIOS[0])))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


# name -> function(RGB picture, size, generator, crop_scale) -> uint8 (3, size, size)
VIEWS: dict[str, View] = {
    "none": _fixed,
    "clip": clip_view,
    "jitter_flip": jitter_flip_view,
    "grayscale_blur": grayscale_blur_view,
}
# Views that change the fixed one: name -> function(fixed view (size, size, 3), seed) -> uint8 (3, size, size).
AFTER_FIXED: dict[str, AfterFixed] = {
    "none": lambda fixed, _seed: fixed.transpose(2, 0, 1),
    "jitter_flip": _with_chance(_jittered),
    "grayscale_blur": _with_chance(_blurred),
}
