"""A view of a photo, straight from the functions that make it."""

import numpy as np

from pipeline_lib.transforms.image import AFTER_FIXED, FROM_PHOTO, fixed_view


def drawn_view(name, image, size, seed, crop_scale=1.0):
    """The view (3, size, size) of an RGB image; `seed` is that of its draws."""
    if name in AFTER_FIXED:
        return AFTER_FIXED[name](fixed_view(image, size), seed)
    return FROM_PHOTO[name](image, size, np.random.default_rng(seed), crop_scale)
