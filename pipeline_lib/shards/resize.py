"""Antialiased bicubic downscaling (Keys 1981, a = -0.5, kernel scaled by the factor), like the towers' preprocessing.

It uses fast_image_resize, which takes a quarter of Pillow's time. Its wheel is missing for Linux on ARM, where Pillow
resizes. Both libraries round and clip between their two passes, one vertical first and one horizontal first, so they
differ slightly from each other and from the exact result, mostly at hard edges. All vector instruction sets give the
same bytes.
"""

from importlib.util import find_spec

import numpy as np
from PIL import Image

from pipeline_lib.transforms.decode import Pixels


def resize_with_cykooz(pixels: Pixels, width: int, height: int) -> Pixels:
    """Return (height, width, 3) of (rows, columns, 3) with fast_image_resize, which may not be installed."""
    from cykooz_resizer import FilterType, ImageData, PixelType, ResizeAlg, ResizeOptions, Resizer

    source = ImageData(pixels.shape[1], pixels.shape[0], PixelType.U8x3, pixels.tobytes())
    target = ImageData(width, height, PixelType.U8x3)
    Resizer().resize(source, target, ResizeOptions(resize_alg=ResizeAlg.convolution(FilterType.catmull_rom)))
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(height, width, 3)


def resize_with_pillow(pixels: Pixels, width: int, height: int) -> Pixels:
    """Return (height, width, 3) of (rows, columns, 3) with Pillow."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


resize = resize_with_cykooz if find_spec("cykooz_resizer") else resize_with_pillow
