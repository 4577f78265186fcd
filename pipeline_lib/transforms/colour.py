"""Changes of a picture's colour and sharpness that training views draw at random; every picture is 8-bit RGB.

Brightness and contrast are one table of 256 values, and the hue is turned in float32 planes: Pillow's own way through
its HSV mode takes twice as long and keeps 8 bits of hue, which is off by up to 16 levels a channel.
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
    red, green, blue = np.asarray(image).transpose(2, 0, 1).astype(np.float32)
    high, low = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    chroma = high - low
    scale = np.float32(1) / np.maximum(chroma, np.float32(1))
    sextant = np.where(
        high == red,
        (green - blue) * scale,
        np.where(high == green, (blue - red) * scale + np.float32(2), (red - green) * scale + np.float32(4)),
    )
    sextant += np.float32(6 * turn)
    turned = np.empty((image.height, image.width, 3), dtype=np.uint8)
    for channel, offset in enumerate((0, 4, 2)):
        turned[..., channel] = low + chroma * _share_of_chroma(sextant + np.float32(offset)) + np.float32(0.5)
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


def _share_of_chroma(sextant: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return how much of the chroma a channel has, 0 to 1, its own hue being at sextant 0 of 6."""
    sextant -= np.float32(6) * np.floor(sextant * np.float32(1 / 6))
    share: npt.NDArray[np.float32] = np.clip(np.abs(sextant - np.float32(3)) - np.float32(1), 0, 1)
    return share
