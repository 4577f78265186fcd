"""Draws the frames of a clip: a camera moves over a photo of the product, or the product's colour fades into another.

The camera's view is a square with a centre, a width and an angle. The photo is drawn once, so a clip takes a few
milliseconds.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from PIL import Image

from shop.photos import Item, draw_photo
from shop.shapes import SHAPES

# Width of the drawn photo, and of the margin around it that continues its border, in pixels.
PHOTO, MARGIN = 96, 72
# 4 or 12 frames in the middles of equal parts are then the same ones of a clip and of its reverse; of 16 they are not.
FRAMES = 12
# How far the camera shakes, in photo widths.
SHAKE = 0.015


class Camera(NamedTuple):
    """A view: its centre relative to that of the photo and its width, in photo widths, and its angle in degrees."""

    x: float = 0.0
    y: float = 0.0
    width: float = 1.05
    angle: float = 0.0


# Action -> the view at the start and at the end. The camera moves while a colour fades, too: in grey, red and blue are
# alike, and the clip would be taken for its own reverse.
PATHS: dict[str, tuple[Camera, Camera]] = {
    "colour": (Camera(width=1.3), Camera(x=0.08, width=0.95)),
    "across": (Camera(x=0.42), Camera(x=-0.42)),
    "distance": (Camera(width=1.9), Camera(width=0.75)),
    "turn": (Camera(width=1.25), Camera(width=1.25, angle=85)),
}


def draw_frames(item: Item, action: str | None, new: str | None, size: int) -> list[Image.Image]:
    """Return FRAMES frames of (size, size) pixels; without an action the camera sways, there and back.

    The colour of the item fades into `new`, if it is given.
    """
    rng = np.random.default_rng([*item.seed, 6])
    before = _drawn(item)
    after = before if new is None else _drawn(dataclasses.replace(item, colour=new))
    sway = Camera(x=float(rng.uniform(-0.1, 0.1)), width=float(rng.uniform(0.95, 1.3)))
    start, end = PATHS[action] if action else (Camera(), sway)
    shake = rng.uniform(-SHAKE, SHAKE, (FRAMES, 2))
    frames = []
    for number, time in enumerate(np.linspace(0, 1, FRAMES).tolist()):
        share = float(_eased(time) if action else 1 - abs(1 - 2 * time))
        x, y, width, angle = (one + share * (other - one) for one, other in zip(start, end, strict=True))
        view = Camera(x + shake[number, 0], y + shake[number, 1], width, angle)
        image = before if new is None else Image.blend(before, after, share)
        frames.append(_seen(image, view, size))
    return frames


def _eased(time: float) -> float:
    """Return how much of an action has happened: it begins and ends gently.

    >>> _eased(0.0), _eased(0.5), _eased(1.0)
    (0.0, 0.5, 1.0)
    """
    return time * time * (3 - 2 * time)


def _drawn(item: Item) -> Image.Image:
    photo = draw_photo(item, SHAPES[item.kind], 0, (PHOTO, PHOTO))
    return Image.fromarray(np.pad(photo, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), mode="edge"))


def _seen(image: Image.Image, view: Camera, size: int) -> Image.Image:
    """Return what the camera sees; the map is from a pixel of the frame to one of the image."""
    scale = view.width * PHOTO / size
    angle = np.deg2rad(view.angle)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    centre_x, centre_y = (MARGIN + PHOTO / 2 + PHOTO * offset for offset in (view.x, view.y))
    half = size / 2
    matrix = (cosine, sine, centre_x - half * (cosine + sine), -sine, cosine, centre_y - half * (cosine - sine))
    return image.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
