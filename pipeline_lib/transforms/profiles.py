"""Embedded colour profiles (ICC): from the colours of Display P3, Adobe RGB, CMYK or a grey scale to sRGB.

A profile that is read as sRGB moves a red by 49 levels (Display P3) to 67 (ProPhoto). The intent is perceptual, the
default of ImageMagick and of browsers; for profiles without tables all intents are equal. A profile that moves no
colour by more than TOLERANCE levels counts as sRGB and is not applied, so that most files keep the fast decoder.
"""

import functools
import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

TOLERANCE = 2
CUBE = 9  # colours along each axis of RGB that decide whether a profile is sRGB
# colour space of a profile -> the mode of the pixels that it describes
PIXELS_OF = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "LAB": "LAB"}


class Conversion(NamedTuple):
    """How a profile's colours become sRGB; without `transform` they stay, because of `problem` if there is one."""

    mode: str
    transform: ImageCms.ImageCmsTransform | None
    problem: str | None = None


@functools.lru_cache(maxsize=64)
def conversion(profile: bytes, mode: str) -> Conversion:
    """Return what to do with pixels of `mode` (RGB, L, CMYK or LAB) in a profile; nothing for a broken profile.

    A grey image may have a profile for RGB; in all other cases the profile must be for the pixels' own mode.
    """
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space.strip().upper()
        wanted = PIXELS_OF.get(space)
        if wanted is None or (wanted != mode and (wanted, mode) != ("RGB", "L")):
            return Conversion(mode, None, f"a profile for {space} in an image of {mode}")
        transform = ImageCms.buildTransform(opened, _srgb(), wanted, "RGB")
        return Conversion(wanted, transform if _moves(transform, wanted) else None)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        return Conversion(mode, None, f"broken profile ({' '.join(str(error).split())})")


@functools.cache
def from_lab() -> ImageCms.ImageCmsTransform:
    """Return the transform of CIELAB pixels without a profile of their own (white point D50)."""
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB")


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _moves(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Return whether a transform moves a colour of a regular grid by more than TOLERANCE levels."""
    if mode not in ("RGB", "L"):
        return True
    ramp = np.linspace(0, 255, CUBE).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(ramp, ramp, ramp), -1).reshape(CUBE, -1, 3)
    before = Image.fromarray(grid if mode == "RGB" else np.arange(256, dtype=np.uint8)[None])
    after = ImageCms.applyTransform(before, transform)
    assert after is not None, "a transform that is not in place returns an image"
    moved = np.asarray(after).astype(int) - np.asarray(before.convert("RGB"))
    return bool(np.abs(moved).max() > TOLERANCE)
