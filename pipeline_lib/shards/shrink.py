"""Antialiased bicubic shrinking (Keys 1981, a = -0.5, widened by the factor), as towers' own preprocessing has it.

By fast_image_resize, a quarter of Pillow's time, where its wheel exists, which it does not for Linux on ARM; there by
Pillow. Both round and clip between their two passes, one down first and one across, so they differ a little from each
other and from the exact picture, most at hard edges. The vector code of every processor gives the same bytes.
"""

from importlib.util import find_spec

import numpy as np
from PIL import Image

from pipeline_lib.transforms.decode import Pixels


def by_resizer(pixels: Pixels, width: int, height: int) -> Pixels:
    """Return (height, width, 3) of (rows, columns, 3), by the library that may be missing."""
    from cykooz_resizer import FilterType, ImageData, PixelType, ResizeAlg, ResizeOptions, Resizer

    source = ImageData(pixels.shape[1], pixels.shape[0], PixelType.U8x3, pixels.tobytes())
    target = ImageData(width, height, PixelType.U8x3)
    Resizer().resize(source, target, ResizeOptions(resize_alg=ResizeAlg.convolution(FilterType.catmull_rom)))
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(height, width, 3)


def by_pillow(pixels: Pixels, width: int, height: int) -> Pixels:
    """Return (height, width, 3) of (rows, columns, 3), by the library that is always there."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


shrink = by_resizer if find_spec("cykooz_resizer") else by_pillow
