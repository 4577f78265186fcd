"""Dealing properties to objects.

Nothing hangs on anything else but the material on the category, so that every property has to be seen for itself.
"""

import numpy as np

from shop.photos import Item
from shop.words import BUILDS, COLOURS, PATTERNS

PLAIN_SHARE = 0.15


def deal_item(kind: str, materials: tuple[str, ...], seed: tuple[int, ...]) -> Item:
    """Return an object of this category; its own seed decides everything about it."""
    rng = np.random.default_rng([*seed, 2])
    colour, second = rng.choice(list(COLOURS), 2, replace=False)
    patterns = [name for name in PATTERNS if name != "plain"]
    pattern = "plain" if rng.uniform() < PLAIN_SHARE else str(rng.choice(patterns))
    material, build = str(rng.choice(materials)), str(rng.choice(list(BUILDS)))
    return Item(kind, str(colour), str(second), pattern, material, build, seed)
