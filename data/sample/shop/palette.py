"""The paints: the RGB value of each colour name, and the pale and deep tones of backdrops."""

from typing import Any

import numpy as np
import numpy.typing as npt

Colour = npt.NDArray[np.floating[Any]]

COLOUR_VALUES: dict[str, tuple[int, int, int]] = {
    "red": (216, 34, 40),
    "yellow": (242, 206, 66),
    "green": (46, 158, 66),
    "blue": (44, 84, 190),
    "purple": (138, 60, 172),
    "brown": (124, 78, 48),
    "white": (242, 240, 236),
    "black": (38, 38, 42),
}

FIXED_PAINTS: dict[str, tuple[int, int, int]] = {"dark": (58, 48, 44), "light": (246, 242, 228), "leaf": (84, 132, 78)}

PALE = ((244, 242, 238), (230, 236, 240), (240, 230, 220), (226, 236, 224), (238, 228, 234), (214, 218, 224))
DEEP = ((176, 188, 196), (198, 178, 156), (158, 172, 152), (186, 164, 170), (120, 128, 140), (210, 196, 168))
TABLES = ((172, 128, 88), (204, 172, 132), (120, 84, 60), (196, 196, 192), (150, 140, 132))


def paint(name: str, rng: np.random.Generator) -> Colour:
    """Return the colour (3,) of one object in 0..1, slightly off the pure value, as real dyes are."""
    value = np.array(COLOUR_VALUES[name], dtype=np.float32) / 255
    return np.clip(value * rng.uniform(0.9, 1.08) + rng.uniform(-0.03, 0.03, 3), 0, 1).astype(np.float32)


def tone(choices: tuple[tuple[int, int, int], ...], rng: np.random.Generator) -> Colour:
    """Return one of the backdrop tones (3,) in 0..1, slightly shifted."""
    value = np.array(choices[rng.integers(len(choices))], dtype=np.float32) / 255
    return np.clip(value + rng.uniform(-0.04, 0.04, 3), 0, 1).astype(np.float32)
