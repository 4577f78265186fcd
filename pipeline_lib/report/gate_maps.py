"""Gate maps over photos: how far a fusion changes each patch of a reference, as colours over the tower's view of it.

Dark blue is low and yellow is high (cividis), in the same order to every kind of colour vision and in grey. All maps of
a model have one scale, so that they compare.
"""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline_lib.report.photos import QUALITY, SIDE, packed_uri
from pipeline_lib.transforms.decode import decode
from pipeline_lib.transforms.image import fixed_view
from pipeline_lib.transforms.resizing import Resizing

# Nuñez, Anderton and Renslow 2018, PLoS ONE 13(7): cividis, at ten even steps.
CIVIDIS = ("00224e", "123570", "3b496c", "575d6d", "707173", "8a8678", "a59c74", "c3b369", "e1cc55", "fee838")
COLOURS = np.array([[int(code[i : i + 2], 16) for i in (0, 2, 4)] for code in CIVIDIS], np.float64)
# The scale as a CSS gradient.
GATE_RAMP = "linear-gradient(to right, " + ", ".join(f"#{code}" for code in CIVIDIS) + ")"
SHADE = 0.6  # how far the photo's brightness darkens the colours, so that the product can be seen


def colours_of(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the colours (..., 3), 0 to 255, of shares 0 to 1 of the scale."""
    steps = np.linspace(0, 1, len(COLOURS))
    return np.stack([np.interp(shares, steps, channel) for channel in COLOURS.T], axis=-1)


def gate_overlay(
    photo: bytes, gates: NDArray[np.float64], limits: tuple[float, float], resizing: Resizing, side: int = SIDE
) -> Image.Image:
    """Return a photo as the tower sees it, (side, side), in the colours of the gates (rows, columns) of its patches."""
    view = fixed_view(decode(photo, side), side, resizing)
    brightness = np.asarray(Image.fromarray(view).convert("L"), np.float64)[..., None] / 255
    low, high = limits
    shares = np.clip((gates - low) / (high - low), 0, 1) if high > low else np.full(gates.shape, 0.5)
    rows, columns = (((np.arange(side) + 0.5) * count / side).astype(int) for count in gates.shape)
    colours = colours_of(shares)[rows[:, None], columns]
    return Image.fromarray(np.rint(colours * (1 - SHADE + SHADE * brightness)).astype(np.uint8))


def view_uri(photo: bytes, view: dict[str, object], side: int = SIDE) -> str:
    """Return a photo as the tower sees it as a data URI of a JPEG; `view` has the keys of the tower's resizing."""
    packed = BytesIO()
    seen = fixed_view(decode(photo, side), side, Resizing.of(view))
    Image.fromarray(seen).save(packed, "JPEG", quality=QUALITY, optimize=True)
    return packed_uri(packed)


def overlay_uri(photo: bytes, gates: NDArray[np.float64], limits: tuple[float, float], view: dict[str, object]) -> str:
    """Return `gate_overlay` as a data URI of a JPEG; `view` has the keys of the tower's resizing."""
    packed = BytesIO()
    gate_overlay(photo, gates, limits, Resizing.of(view)).save(packed, "JPEG", quality=QUALITY, optimize=True)
    return packed_uri(packed)
