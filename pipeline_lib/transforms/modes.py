"""A decoded image of any mode of Pillow -> 8-bit sRGB on white: bit depth, transparency, palette, colour space.

Pillow's own `convert` clips greys of 16 and 32 bits, so that all pixels above 255 become white, and drops an alpha
channel, so that hidden colours appear.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from pipeline_lib.transforms.profiles import conversion, from_lab

# Usual values of white in images of 32-bit integers and of floats, smallest first.
PEAKS_OF = {"I": (255.0, 65535.0, 2.0**31 - 1, 2.0**32 - 1), "F": (1.0, 255.0, 65535.0)}
# Above the first peak: if no pixel exceeds this part of a peak, it is not the image's own (0 to 1.02, 12 bits, meters).
LEAST_USED = 1 / 16
# Images of more pixels are converted in strips of rows, so that besides image and result there are no copies of them.
LARGE, STRIP = 1 << 24, 256
# Tags of TIFF
BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
WHITE_IS_ZERO, UNSIGNED = 0, 1


def to_srgb(image: Image.Image, convert: bool) -> tuple[Image.Image, str | None]:
    """Return a loaded image as 8-bit RGB, and why its colour profile was not used (None if it was, or has none).

    With `convert` the colours of an embedded profile become sRGB, otherwise they are taken as they are.
    """
    if image.width * image.height <= LARGE or image.mode in PEAKS_OF or image.format == "TIFF":
        return _converted(image, convert)  # the levels of the one depend on all pixels, of the other on its tags
    profile = image.info.get("icc_profile") if convert else None
    if image.mode == "RGB" and not profile and not image.has_transparency_data:
        return image, None
    result, problem = Image.new("RGB", image.size, None), None
    for top in range(0, image.height, STRIP):
        rows = image.crop((0, top, image.width, min(top + STRIP, image.height)))
        strip, problem = _converted(rows, convert)
        result.paste(strip, (0, top))
    return result, problem


def _converted(image: Image.Image, convert: bool) -> tuple[Image.Image, str | None]:
    profile = image.info.get("icc_profile") if convert else None
    if image.mode.startswith("I;16"):
        image = _from_16_bit(image)
    elif image.mode in PEAKS_OF:
        image = _from_32_bit(image)
    grey = image.mode in ("1", "L", "LA", "La")
    if not image.has_transparency_data:
        return _coloured(image, profile, grey)
    layer = image.convert("RGBA")
    if profile:
        rgb, problem = _coloured(layer.convert("RGB"), profile, grey)
        layer = Image.merge("RGBA", (*rgb.split(), layer.getchannel("A")))
    else:
        problem = None
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB"), problem


def profile_mode(image: Image.Image) -> str:
    """Return the mode of the pixels that an image's colour profile describes."""
    if image.mode in ("CMYK", "LAB"):
        return image.mode
    return "L" if image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16") else "RGB"


def _coloured(image: Image.Image, profile: bytes | None, grey: bool) -> tuple[Image.Image, str | None]:
    """Return opaque 8-bit pixels as sRGB, and why the profile was not used."""
    mode = image.mode if image.mode in ("CMYK", "LAB") else "L" if grey else "RGB"
    found = conversion(profile, mode) if profile else None
    if found and found.transform:
        pixels = image if image.mode == found.mode else image.convert(found.mode)
        return _applied(pixels, found.transform), None
    problem = found.problem if found else None
    return _applied(image, from_lab()) if image.mode == "LAB" else image.convert("RGB"), problem


def _applied(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None, "a transform that is not in place returns an image"
    return converted


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Return 16-bit greys as 8 bits, or as LA where one grey is transparent; a TIFF of fewer bits has its own white."""
    values = np.asarray(image).astype(np.uint32)
    white = 2 ** _tag(image, BITS, 16) - 1
    levels = ((values * 255 + white // 2) // white).clip(0, 255).astype(np.uint8)
    grey = Image.fromarray(_inverted(image, levels))
    clear = image.info.get("transparency")
    if not isinstance(clear, int):
        return grey
    return Image.merge("LA", (grey, Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))))


def _from_32_bit(image: Image.Image) -> Image.Image:
    """Return 32-bit integers or floats as 8 bits; white is the smallest usual peak that fits, else the largest value.

    With negative values there is no usual peak, and the range from the smallest to the largest value is used.
    """
    values: NDArray[np.float64] = np.asarray(image).astype(np.float64)
    if image.mode == "I" and _tag(image, BITS, 0) == 32 and _tag(image, SAMPLE_FORMAT, UNSIGNED) == UNSIGNED:
        values = values % 2.0**32  # Pillow reads unsigned integers as signed
    finite = np.isfinite(values)
    low, top = (float(values[finite].min()), float(values[finite].max())) if finite.any() else (0.0, 0.0)
    low = min(low, 0.0)
    peaks: tuple[float, ...] = PEAKS_OF[image.mode]
    if image.format == "PPM" and image.mode == "I":
        peaks = (65535.0,)  # the scale of every PGM of more than 8 bits
    fits = (peak for peak in peaks if top <= peak and (peak == peaks[0] or top > peak * LEAST_USED))
    white = top if low < 0 else next(fits, top)
    levels = (np.nan_to_num(values, nan=low, posinf=white, neginf=low) - low) * (255 / max(white - low, 1e-300))
    return Image.fromarray(_inverted(image, np.clip(np.rint(levels), 0, 255).astype(np.uint8)))


def _inverted(image: Image.Image, levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return levels with black and white exchanged if a TIFF says so, which Pillow does for 8 bits only."""
    return 255 - levels if _tag(image, PHOTOMETRIC, 1) == WHITE_IS_ZERO else levels


def _tag(image: Image.Image, tag: int, default: int) -> int:
    """Return the first value of a TIFF's tag, the default if the image is no TIFF or has no such tag."""
    value = getattr(image, "tag_v2", {}).get(tag, default)
    return int(value[0] if isinstance(value, tuple) else value)
