"""Random changes of colour and sharpness for training views; every image is 8-bit RGB.

Brightness and contrast are a lookup table of 256 values. The hue is shifted in float32: Pillow's HSV mode takes 1.5
times as long and has 8 bits of hue, which gives errors of up to 16 levels per channel.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter

# ColorJitter(0.4, 0.4, 0.4, 0.1) of MoCo v2 (arXiv:2003.04297), half the strength of SimCLR's (arXiv:2002.05709).
JITTER = 0.4
JITTER_HUE = 0.1
# Random greyscale and Gaussian blur of both papers, sigma in pixels of a 224 px image.
GREY_CHANCE = 0.2
BLUR_CHANCE = 0.5
BLUR_SIGMAS = (0.1, 2.0)
BLUR_SIZE = 224

# Rows processed at once: they fit in the CPU cache; the entire image at once takes nearly twice as long.
ROWS = 32
LEVELS = np.arange(256, dtype=np.float32)


def adjust_brightness(image: Image.Image, factor: float) -> Image.Image:
    """Return the image blended with black; factor 1 is the image, 0 is black."""
    return _look_up(image, LEVELS * factor)


def adjust_contrast(image: Image.Image, factor: float) -> Image.Image:
    """Return the image blended with its mean grey; factor 1 is the image, 0 is uniform grey."""
    counts = np.array(image.convert("L").histogram())
    mean = round(float(counts @ LEVELS) / max(1, counts.sum()))
    return _look_up(image, mean + factor * (LEVELS - mean))


def adjust_saturation(image: Image.Image, factor: float) -> Image.Image:
    """Return the image blended with its greyscale version; factor 1 is the image, 0 is greyscale."""
    return ImageEnhance.Color(image).enhance(factor)


def adjust_hue(image: Image.Image, shift: float) -> Image.Image:
    """Return the image with all hues shifted by a fraction of the colour circle, -0.5 to 0.5; value and chroma stay."""
    pixels = np.asarray(image)
    shifted = np.empty_like(pixels)
    for row in range(0, len(pixels), ROWS):
        _shift_hue(pixels[row : row + ROWS], shift, shifted[row : row + ROWS])
    return Image.fromarray(shifted)


def grey(image: Image.Image) -> Image.Image:
    """Return the image's luma (ITU-R 601-2) in all three channels."""
    return image.convert("L").convert("RGB")


def blur(image: Image.Image, sigma: float) -> Image.Image:
    """Return the image blurred with a Gaussian of `sigma` pixels, which Pillow approximates by three box blurs."""
    return image.filter(ImageFilter.GaussianBlur(sigma))


def jitter(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the image with random brightness, contrast, saturation and hue, applied in random order."""
    amounts = [*rng.uniform(1 - JITTER, 1 + JITTER, 3), rng.uniform(-JITTER_HUE, JITTER_HUE)]
    changes = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
    for number in rng.permutation(len(changes)):
        image = changes[number](image, float(amounts[number]))
    return image


def grey_and_blur(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the image, greyscale with probability 0.2 and blurred with probability 0.5; sigma scales with its size."""
    is_grey, is_blurred = rng.random() < GREY_CHANCE, rng.random() < BLUR_CHANCE
    sigma = float(rng.uniform(*BLUR_SIGMAS)) * min(image.size) / BLUR_SIZE
    image = grey(image) if is_grey else image
    return blur(image, sigma) if is_blurred else image


def _look_up(image: Image.Image, values: npt.NDArray[np.float32]) -> Image.Image:
    table = np.clip(np.rint(values), 0, 255).astype(np.uint8).tolist()
    return image.point(table * 3)


def _shift_hue(pixels: npt.NDArray[np.uint8], shift: float, out: npt.NDArray[np.uint8]) -> None:
    red, green, blue = pixels.transpose(2, 0, 1).astype(np.float32, order="C")
    high, low = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    chroma = high - low
    divisor = np.maximum(chroma, 1)
    # The hue as 0 to 6, red at 0, green at 2, blue at 4. If two channels are equally high, both formulas agree.
    sextant = np.where(high == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor)
    np.copyto(sextant, (green - blue) / divisor, where=high == red)
    sextant += np.float32(6 * shift)
    for channel, hue in enumerate((0, 2, 4)):
        distance = sextant - np.float32(hue)
        distance -= 6 * np.floor(distance * np.float32(1 / 6))
        # A channel has the full chroma up to 1 sextant from its hue, and no chroma from 2 sextants on.
        share = (np.abs(distance - 3) - 1).clip(0, 1)
        out[..., channel] = np.rint(low + chroma * share)
