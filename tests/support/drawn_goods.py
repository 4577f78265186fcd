"""Drawn goods on white, and copies of a picture as shops make them, for tests and bench of near-duplicates."""

import io

import numpy as np
from PIL import Image, ImageDraw

COLOURS = ((25, 25, 25), (40, 60, 140), (170, 30, 40), (60, 120, 70), (200, 170, 60), (120, 120, 125), (90, 60, 40))
OUTLINE = ((150, 60), (200, 80), (250, 60), (330, 110), (300, 170), (270, 150), (272, 350), (128, 350), (130, 150))
SLEEVE = ((100, 170), (70, 110))


def shirt(seed, size=240, colour=None, prints=3, outline=6):
    """Return a T-shirt on white with its own outline, colour and prints; equal seeds give equal pixels.

    Corners are moved by up to `outline` pixels of 400; 0 gives one outline to all.
    """
    rng = np.random.default_rng(seed)
    image, scale = Image.new("RGB", (size, size), "white"), size / 400
    draw = ImageDraw.Draw(image)
    moves = rng.integers(-6, 7, (len(OUTLINE) + len(SLEEVE), 2)) * outline / 6
    corners = np.array((*OUTLINE, *SLEEVE)) + moves
    body = COLOURS[rng.integers(len(COLOURS))]
    draw.polygon([(x * scale, y * scale) for x, y in corners], fill=colour or body, outline=(150, 150, 150))
    for _ in range(prints):
        fill = tuple(rng.integers(0, 256, 3).tolist())
        x, y, side = rng.integers(150, 220), rng.integers(140, 280), rng.integers(20, 45)
        box = [x * scale, y * scale, (x + 1.4 * side) * scale, (y + side) * scale]
        (draw.ellipse if rng.integers(2) else draw.rectangle)(box, fill=fill)
    return image


def scene(seed, size=240):
    """Return a picture without a border: smooth random patches with a few shapes."""
    rng = np.random.default_rng(seed)
    patches = Image.fromarray(rng.integers(0, 256, (7, 7, 3), dtype=np.uint8))
    image = patches.resize((size, size), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(5):
        x, y, side = rng.integers(0, size - 40), rng.integers(0, size - 40), rng.integers(15, 60)
        draw.ellipse((x, y, x + side, y + side), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return image


def encoded(image, quality=85):
    """Return the picture after JPEG compression."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def with_margin(image, share, colour="white"):
    """Return the picture with a margin of this share of its shorter side."""
    margin = round(share * min(image.size))
    wide = Image.new("RGB", (image.width + 2 * margin, image.height + 2 * margin), colour)
    wide.paste(image, (margin, margin))
    return wide


def cropped(image, left=0.0, top=0.0, right=0.0, bottom=0.0):
    """Return the picture without these shares of its sides."""
    width, height = image.size
    return image.crop(
        (round(left * width), round(top * height), round(width - right * width), round(height - bottom * height))
    )


def shifted(image, share):
    """Return the picture moved to the right; the uncovered strip repeats its first column."""
    pixels = np.asarray(image)
    by = round(share * image.width)
    return Image.fromarray(
        np.concatenate([np.repeat(pixels[:, :1], by, axis=1), pixels[:, : image.width - by]], axis=1)
    )


COPIES = {
    "re-encoded at quality 50": lambda image: encoded(image, 50),
    "resized to half": lambda image: encoded(image.resize((image.width // 2, image.height // 2)), 90),
    "3 % white margin": lambda image: encoded(with_margin(image, 0.03)),
    "3 % black margin": lambda image: encoded(with_margin(image, 0.03, "black")),
    "3 % cropped on each side": lambda image: encoded(cropped(image, 0.03, 0.03, 0.03, 0.03)),
    "6 % cropped on each side": lambda image: encoded(cropped(image, 0.06, 0.06, 0.06, 0.06)),
    "6 % cropped on the left": lambda image: encoded(cropped(image, left=0.06)),
    "6 % cropped on two sides": lambda image: encoded(cropped(image, left=0.06, top=0.06)),
    "shifted by 3 %": lambda image: encoded(shifted(image, 0.03)),
    "mirrored": lambda image: encoded(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
}
