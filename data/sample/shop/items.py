"""Samples the properties of objects.

Only the material depends on the category; all other properties are independent, so a model has to recognise each one.
"""

import numpy as np

from shop.photos import Item
from shop.words import BUILDS, COLOURS, PATTERNS

PLAIN_SHARE = 0.15


def sample_item(kind: str, materials: tuple[str, ...], seed: tuple[int, ...]) -> Item:
    """Return an object of this category; all its properties follow from `seed`."""
    rng = np.random.default_rng([*seed, 2])
    colour, second = rng.choice(list(COLOURS), 2, replace=False)
    patterns = [name for name in PATTERNS if name != "plain"]
    pattern = "plain" if rng.uniform() < PLAIN_SHARE else str(rng.choice(patterns))
    material, build = str(rng.choice(materials)), str(rng.choice(list(BUILDS)))
    return Item(kind, str(colour), str(second), pattern, material, build, seed)
