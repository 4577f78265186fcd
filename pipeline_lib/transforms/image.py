"""Views: a decoded image -> the square uint8 pixels that a tower reads.

Crop and resize are one step (`resize` with a box), so an image of 1 x 100,000 pixels needs no more memory than any
other. The pixels equal those of resizing and then cropping, up to rounding. All random draws come from the seed (seed,
epoch, row), so a resumed run draws the same views. Views that start from the fixed view are in `AFTER_FIXED`, so that
the fixed view can be cached for all epochs; the others are in `FROM_PHOTO`.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline_lib.params.values import Interpolation, ResizeMode
from pipeline_lib.transforms.colour import grey_and_blur, jitter
from pipeline_lib.transforms.resizing import SHORTEST, Resizing

Pixels = npt.NDArray[np.uint8]
View = Callable[[Image.Image, int, np.random.Generator, float], Pixels]
AfterFixed = Callable[[Pixels, tuple[int, ...]], Pixels]

CLIP_MARGIN = 32
CROP_TRIES = 10
CROP_RATIOS = (3 / 4, 4 / 3)
TARGET_RATIO = 1.25  # of CLIP4Cir's and SPRC's models


def fixed_view(image: Image.Image, size: int, resizing: Resizing = SHORTEST) -> Pixels:
    """Return (size, size, 3), the memory layout of an image: the photo as a square."""
    return np.asarray(SQUARES[resizing.resize_mode](image, size, FILTERS[resizing.interpolation]))


def clip_view(image: Image.Image, size: int, rng: np.random.Generator, crop_scale: float) -> Pixels:
    """Return (3, size, size): resized, a random crop of `crop_scale` to 1 of the area, randomly flipped.

    The shorter side is reduced to size + 32 pixels, and never enlarged; `decode` returns at least as many pixels for
    any size of 32 or more. The aspect ratio of the crop is 3:4 to 4:3. Source: Resize and RandomResizedCrop of
    torchvision.
    """
    factor = (size + CLIP_MARGIN) / min(image.size)
    if factor < 1:
        reduced = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        image = image.resize(reduced, Image.Resampling.BICUBIC)
    return _maybe_flipped(_resize_box(image, size, _random_box(image.width, image.height, rng, crop_scale)), rng)


def _jittered(fixed: Image.Image, rng: np.random.Generator) -> Pixels:
    """Return the fixed view with colour jitter, flipped with probability 0.5."""
    return _maybe_flipped(_planes(jitter(fixed, rng)), rng)


def _blurred(fixed: Image.Image, rng: np.random.Generator) -> Pixels:
    """Return the fixed view, randomly greyscale and randomly blurred, never flipped."""
    return _planes(grey_and_blur(fixed, rng))


def _random_after_fixed(function: Callable[[Image.Image, np.random.Generator], Pixels]) -> AfterFixed:
    return lambda fixed, seed: function(Image.fromarray(fixed), np.random.default_rng(seed))


def _shortest(image: Image.Image, size: int, resample: Image.Resampling) -> Image.Image:
    return image.resize((size, size), resample, box=_central_box(image.width, image.height, size))


def _central_box(width: int, height: int, size: int) -> tuple[float, float, float, float]:
    """Return what is the central square of an image after its shorter side is resized to `size` pixels."""
    shorter = min(width, height)
    resized = (max(size, round(width * size / shorter)), max(size, round(height * size / shorter)))
    left, top = (resized[0] - size) // 2, (resized[1] - size) // 2
    x_scale, y_scale = width / resized[0], height / resized[1]
    return left * x_scale, top * y_scale, (left + size) * x_scale, (top + size) * y_scale


def _longest(image: Image.Image, size: int, resample: Image.Resampling) -> Image.Image:
    ratio = max(image.size) / size
    width, height = (max(1, round(side / ratio)) for side in image.size)
    square = Image.new("RGB", (size, size))
    square.paste(image.resize((width, height), resample), ((size - width) // 2, (size - height) // 2))
    return square


def _padded(image: Image.Image, size: int, resample: Image.Resampling, ratio: float) -> Image.Image:
    """Pad the shorter side to 1 / `ratio` of the longer one where it is shorter, then resize and crop as `_shortest`.

    Source: TargetPad and SquarePad of CLIP4Cir. The longer side is resized first, so that an image of 1 x 100,000
    pixels is never padded at its full length.
    """
    width, height = image.size
    target = max(width, height) / ratio
    # CLIP4Cir rounds down, and leaves an image alone whose sides differ by less than the ratio.
    pad_x, pad_y = (max(int((target - side) / 2), 0) for side in (width, height))
    left, top, right, bottom = _central_box(width + 2 * pad_x, height + 2 * pad_y, size)
    if pad_x:
        rows = image.resize((width, size), resample, box=(0, top, width, bottom))
        square = Image.new("RGB", (width + 2 * pad_x, size))
        square.paste(rows, (pad_x, 0))
        return square.resize((size, size), resample, box=(left, 0, right, size))
    if pad_y:
        columns = image.resize((size, height), resample, box=(left, 0, right, height))
        square = Image.new("RGB", (size, height + 2 * pad_y))
        square.paste(columns, (0, pad_y))
        return square.resize((size, size), resample, box=(0, top, size, bottom))
    return image.resize((size, size), resample, box=(left, top, right, bottom))


def _squash(image: Image.Image, size: int, resample: Image.Resampling) -> Image.Image:
    return image.resize((size, size), resample)


def _resize_box(image: Image.Image, size: int, box: tuple[float, float, float, float]) -> Pixels:
    return _planes(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


def _planes(image: Image.Image) -> Pixels:
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def _maybe_flipped(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return np.ascontiguousarray(pixels[:, :, ::-1]) if rng.random() < 0.5 else pixels


def _random_box(width: int, height: int, rng: np.random.Generator, crop_scale: float) -> tuple[int, int, int, int]:
    for _ in range(CROP_TRIES):
        area = width * height * rng.uniform(crop_scale, 1.0)
        ratio = math.exp(rng.uniform(math.log(CROP_RATIOS[0]), math.log(CROP_RATIOS[1])))
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            left = int(rng.integers(width - crop_width + 1))
            top = int(rng.integers(height - crop_height + 1))
            return left, top, left + crop_width, top + crop_height
    # None may fit a long image (2:3 at a crop_scale of 0.9): the largest allowed one, at a random place. torchvision
    # takes the middle, which is the same pixels in every epoch.
    crop_width = min(width, max(1, round(height * CROP_RATIOS[1])))
    crop_height = min(height, max(1, round(width / CROP_RATIOS[0])))
    left = int(rng.integers(width - crop_width + 1))
    top = int(rng.integers(height - crop_height + 1))
    return left, top, left + crop_width, top + crop_height


FILTERS: dict[Interpolation, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}
# resize_mode -> function(RGB image, size, filter) -> image of size x size
SQUARES: dict[ResizeMode, Callable[[Image.Image, int, Image.Resampling], Image.Image]] = {
    "shortest": _shortest,
    "longest": _longest,
    "squash": _squash,
    "target_pad": partial(_padded, ratio=TARGET_RATIO),
    "square_pad": partial(_padded, ratio=1.0),
}
# Views that start from the photo: name -> function(RGB image, size, generator, crop_scale) -> uint8 (3, size, size).
FROM_PHOTO: dict[str, View] = {"clip": clip_view}
# Views that start from the fixed view: name -> function(fixed view (size, size, 3), seed) -> uint8 (3, size, size).
AFTER_FIXED: dict[str, AfterFixed] = {
    "none": lambda fixed, _seed: fixed.transpose(2, 0, 1),
    "jitter_flip": _random_after_fixed(_jittered),
    "grayscale_blur": _random_after_fixed(_blurred),
}
