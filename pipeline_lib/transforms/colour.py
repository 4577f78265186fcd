"""Changes of a picture's colour and sharpness that training views draw at random; every picture is 8-bit RGB.

Brightness and contrast are one table of 256 values, and the hue is turned in float32 planes: Pillow's own way through
its HSV mode takes half as long again and keeps 8 bits of hue, which is off by up to 16 levels a channel.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter

# ColorJitter(0.4, 0.4, 0.4, 0.1) of MoCo v2 (arXiv:2003.04297), half of SimCLR's at its strongest (arXiv:2002.05709).
JITTER = 0.4
JITTER_HUE = 0.1
# Random greyscale and Gaussian blur of both papers, sigma in pixels of a picture of 224.
GREY_CHANCE = 0.2
BLUR_CHANCE = 0.5
BLUR_SIGMAS = (0.1, 2.0)
BLUR_SIZE = 224

# Rows turned at once: they stay in the processor's cache; the whole picture at once takes nearly twice as long.
ROWS = 32
LEVELS = np.arange(256, dtype=np.float32)


def adjust_brightness(image: Image.Image, factor: float) -> Image.Image:
    """Return the picture blended with black; factor 1 changes nothing, 0 is black."""
    return _look_up(image, LEVELS * factor)


def adjust_contrast(image: Image.Image, factor: float) -> Image.Image:
    """Return the picture blended with its mean grey; factor 1 changes nothing, 0 is that grey."""
    counts = np.array(image.convert("L").histogram())
    mean = round(float(counts @ LEVELS) / max(1, counts.sum()))
    return _look_up(image, mean + factor * (LEVELS - mean))


def adjust_saturation(image: Image.Image, factor: float) -> Image.Image:
    """Return the picture blended with its greys; factor 1 changes nothing, 0 is grey."""
    return ImageEnhance.Color(image).enhance(factor)


def adjust_hue(image: Image.Image, turn: float) -> Image.Image:
    """Return the picture with every hue turned by `turn` of the whole circle, -0.5 to 0.5; value and chroma stay."""
    pixels = np.asarray(image)
    turned = np.empty_like(pixels)
    for row in range(0, len(pixels), ROWS):
        _turn_hue(pixels[row : row + ROWS], turn, turned[row : row + ROWS])
    return Image.fromarray(turned)


def grey(image: Image.Image) -> Image.Image:
    """Return the picture's luma (ITU-R 601-2) in all three channels."""
    return image.convert("L").convert("RGB")


def blur(image: Image.Image, sigma: float) -> Image.Image:
    """Return the picture under a Gaussian of `sigma` pixels, as Pillow's three box blurs come near it."""
    return image.filter(ImageFilter.GaussianBlur(sigma))


def jitter(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the picture with brightness, contrast, saturation and hue changed by chance, in an order of chance."""
    amounts = [*rng.uniform(1 - JITTER, 1 + JITTER, 3), rng.uniform(-JITTER_HUE, JITTER_HUE)]
    changes = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
    for number in rng.permutation(len(changes)):
        image = changes[number](image, float(amounts[number]))
    return image


def grey_and_blur(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the picture grey in one of 5 cases, then blurred in one of 2; sigma grows with the picture's size."""
    is_grey, is_blurred = rng.random() < GREY_CHANCE, rng.random() < BLUR_CHANCE
    sigma = float(rng.uniform(*BLUR_SIGMAS)) * min(image.size) / BLUR_SIZE
    image = grey(image) if is_grey else image
    return blur(image, sigma) if is_blurred else image


def _look_up(image: Image.Image, values: npt.NDArray[np.float32]) -> Image.Image:
    table = np.clip(np.rint(values), 0, 255).astype(np.uint8).tolist()
    return image.point(table * 3)


def _turn_hue(pixels: npt.NDArray[np.uint8], turn: float, turned: npt.NDArray[np.uint8]) -> None:
    red, green, blue = pixels.transpose(2, 0, 1).astype(np.float32, order="C")
    high, low = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    chroma = high - low
    divisor = np.maximum(chroma, 1)
    # The hue as 0 to 6, red at 0, green at 2, blue at 4; where two channels are highest, both formulas agree.
    sextant = np.where(high == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor)
    np.copyto(sextant, (green - blue) / divisor, where=high == red)
    sextant += np.float32(6 * turn)
    for channel, own in enumerate((0, 2, 4)):
        away = sextant - np.float32(own)
        away -= 6 * np.floor(away * np.float32(1 / 6))
        # A channel has all of the chroma up to 1 sextant from its own hue, and none from 2 on.
        share = (np.abs(away - 3) - 1).clip(0, 1)
        turned[..., channel] = np.rint(low + chroma * share)
