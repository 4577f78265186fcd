"""Draws a photo of an object: backdrop, shadow, painted parts under one light, and camera noise.

Only the masks of the outlines are supersampled; patterns and light are formulas at the size of the photo. A photo takes
about three milliseconds, so the sample takes seconds.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from shop.outline import Part, Points, Shape
from shop.palette import DEEP, FIXED_PAINTS, PALE, TABLES, Colour, paint, tone
from shop.patterns import MATERIAL_LOOKS, PATTERN_FIELDS, Field

Pixels = npt.NDArray[np.uint8]
OVERSAMPLING = 3
# Width of the edge in the second colour around every main part, in object units.
EDGING = 0.065
# Brightness of the print on dark and on bright goods, so that a pattern is visible on any colour.
PRINT_ON_DARK, PRINT_ON_BRIGHT = 0.96, 0.12
LUMA = np.array([0.3, 0.6, 0.1], dtype=np.float32)
BUILD_STRETCH = {"slim": (0.78, 1.02), "regular": (0.95, 0.95), "wide": (1.04, 0.76)}
BACKDROPS = ("plain", "gradient", "table", "room")


@dataclasses.dataclass(frozen=True)
class Item:
    """The properties of one object; its photos follow from them, `seed` and the number of the photo."""

    kind: str
    colour: str
    second: str
    pattern: str
    material: str
    build: str
    seed: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class _View:
    """Maps object to pixel by `matrix` (2, 2) and `centre` (2,); `u`, `v` are the object coordinates of each pixel."""

    width: int
    height: int
    matrix: Points
    centre: Points
    u: Field
    v: Field

    @property
    def pixel(self) -> float:
        """Return the size of a pixel in object units."""
        return float(1 / np.sqrt(abs(np.linalg.det(self.matrix))))


def draw_photo(item: Item, shape: Shape, number: int, size: tuple[int, int]) -> Pixels:
    """Return photo `number` of an item, (height, width, 3), for `size` as (width, height)."""
    own = np.random.default_rng([*item.seed, 0])
    rng = np.random.default_rng([*item.seed, 1, number])
    paints = _paints(item, own)
    stretch = np.array(BUILD_STRETCH[item.build])
    parts = [part._replace(points=part.points * stretch) for part in shape(own)]
    grain = own.uniform(1.2, 1.5)
    phase = own.uniform(-0.2, 0.2, 2)
    view = _viewpoint(size, rng)
    image = _backdrop(view, rng)
    body = _surface(item, view, paints, float(grain), phase.astype(np.float32))
    light = _light(item, view, rng)
    opacity = MATERIAL_LOOKS[item.material].opacity
    _cast_shadow(image, parts, view, float(rng.uniform(0.12, 0.4)))
    for part in parts:
        place, mask = _mask(part.points, view)
        main = part.paint == "main"
        filled = body[place] if main else paints[part.paint]
        lit = np.clip(filled * (part.tone * light[0][place]), 0, 1) + light[1][place]
        lit -= image[place]
        lit *= mask[..., None] * np.float32(opacity if main else 1.0)
        image[place] += lit
        if main:
            place, mask = _mask(part.points, view, EDGING)
            image[place] += mask[..., None] * (np.clip(paints["second"] * light[0][place], 0, 1) - image[place])
    return _camera(image, rng)


def _paints(item: Item, rng: np.random.Generator) -> dict[str, Colour]:
    fixed = {name: np.array(value, dtype=np.float32) / 255 for name, value in FIXED_PAINTS.items()}
    return {"main": paint(item.colour, rng), "second": paint(item.second, rng), **fixed}


def _viewpoint(size: tuple[int, int], rng: np.random.Generator) -> _View:
    width, height = size
    scale = min(size) / 2 * rng.uniform(0.80, 0.98)
    turn, slant = np.deg2rad(rng.normal(0, 6)), rng.normal(0, 0.05)
    flip = -1.0 if rng.uniform() < 0.5 else 1.0
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = scale * rotation @ np.array([[1.0, slant], [0.0, rng.uniform(0.92, 1.04)]]) @ np.diag([flip, 1.0])
    # The object stays in the central square for any aspect ratio, as in product photos.
    room = max(min(size) / 2 - scale * 0.9, 0.0)
    centre = np.array([width, height]) / 2 + room * rng.uniform(-0.9, 0.9, 2)
    inverse = np.linalg.inv(matrix)
    x = np.arange(width, dtype=np.float32)[None, :] + np.float32(0.5 - centre[0])
    y = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5 - centre[1])
    u = np.float32(inverse[0, 0]) * x + np.float32(inverse[0, 1]) * y
    v = np.float32(inverse[1, 0]) * x + np.float32(inverse[1, 1]) * y
    return _View(width, height, matrix, centre, u, v)


def _backdrop(view: _View, rng: np.random.Generator) -> Field:
    kind = BACKDROPS[rng.integers(len(BACKDROPS))]
    wall = tone(PALE if rng.uniform() < 0.75 else DEEP, rng)
    y = np.linspace(0, 1, view.height, dtype=np.float32)[:, None, None]
    x = np.linspace(-1, 1, view.width, dtype=np.float32)[None, :, None]
    # A plain backdrop also has a brightness gradient; without it all such photos would have similar hashes.
    image = wall * (1 + rng.uniform(-0.08, 0.08) * x + rng.uniform(0.02, 0.12) * (0.5 - y)).astype(np.float32)
    if kind == "gradient":
        image = image + y * (tone(DEEP, rng) - wall)
    elif kind != "plain":
        floor = tone(TABLES, rng)
        edge = (y - rng.uniform(0.55, 0.8)) * view.height + rng.uniform(-0.06, 0.06) * x * view.width
        boards = 1 + (
            0.06 * np.sin(40 * y + 3 * np.sin(3 * x)) if kind == "table" else 0.05 * np.sign(np.sin(25 * x / (0.4 + y)))
        )
        below = np.clip(edge, 0, 1)
        image = image + below * (floor * boards - image)
        if kind == "room":
            image = image + np.clip(edge + 5, 0, 1) * (1 - below) * (0.92 - image) * 0.8
    return np.ascontiguousarray(image, dtype=np.float32)


def _surface(item: Item, view: _View, paints: dict[str, Colour], grain: float, phase: Field) -> Field:
    u, v = view.u * np.float32(grain) + phase[0], view.v * np.float32(grain) + phase[1]
    share = PATTERN_FIELDS[item.pattern](u, v, view.pixel * grain)[..., None]
    texture = MATERIAL_LOOKS[item.material].texture(u, v)[..., None]
    ink = np.float32(PRINT_ON_DARK if float(paints["main"] @ LUMA) < 0.5 else PRINT_ON_BRIGHT)
    return (paints["main"] + share * (ink - paints["main"])) * texture


def _light(item: Item, view: _View, rng: np.random.Generator) -> tuple[Field, Field]:
    """Return the factor and the added highlight of each pixel, (height, width, 1)."""
    angle = rng.uniform(0, 2 * np.pi)
    slope = rng.uniform(0.05, 0.16)
    factor = rng.uniform(0.9, 1.06) + slope * (np.cos(angle) * view.u - abs(np.sin(angle)) * view.v)
    gloss = MATERIAL_LOOKS[item.material].gloss * rng.uniform(0.7, 1.1)
    spot = ((view.u - 0.35 * np.cos(angle)) / 0.16) ** 2 + ((view.v + 0.25) / 0.4) ** 2
    return factor[..., None].astype(np.float32), (gloss * 0.5 * np.exp(-spot))[..., None].astype(np.float32)


def _mask(points: Points, view: _View, pen: float = 0.0) -> tuple[tuple[slice, slice], Field]:
    """Return the rectangle (rows, columns) that an outline touches, and how much of each pixel in it is covered.

    With a `pen` width in object units, the mask is only the line along the inside of the outline.
    """
    corners = points @ view.matrix.T + view.centre
    limits = np.array([view.width, view.height])
    left, top = np.floor(corners.min(axis=0)).clip(0, limits - 1).astype(int).tolist()
    right, bottom = (np.ceil(corners.max(axis=0)) + 1).clip((left + 1, top + 1), limits).astype(int).tolist()
    sheet = Image.new("L", ((right - left) * OVERSAMPLING, (bottom - top) * OVERSAMPLING))
    outline = ((corners - (left, top)) * OVERSAMPLING).ravel().tolist()
    if pen:
        ImageDraw.Draw(sheet).polygon(outline, outline=255, width=round(pen / view.pixel * OVERSAMPLING))
    else:
        ImageDraw.Draw(sheet).polygon(outline, fill=255)
    mask = np.asarray(sheet.reduce(OVERSAMPLING), dtype=np.float32) / 255
    return (slice(top, bottom), slice(left, right)), mask


def _cast_shadow(image: Field, parts: list[Part], view: _View, depth: float) -> None:
    """Darken the backdrop, in place, under the object's lowest edge."""
    points = np.concatenate([part.points for part in parts]) @ view.matrix.T + view.centre
    low, left, right = points[:, 1].max(), points[:, 0].min(), points[:, 0].max()
    x = (np.arange(view.width, dtype=np.float32) - (left + right) / 2) / max(0.55 * (right - left), 1.0)
    y = (np.arange(view.height, dtype=np.float32) - low) / (0.07 * view.height)
    image *= 1 - depth * np.exp(-(x[None, :, None] ** 2) * 1.5 - y[:, None, None] ** 2)


def _camera(image: Field, rng: np.random.Generator) -> Pixels:
    cast = (1 + rng.uniform(-0.05, 0.05, 3)).astype(np.float32)
    pixels = rng.standard_normal(image.shape, dtype=np.float32)
    pixels *= np.float32(rng.uniform(0.004, 0.02))
    pixels += image * cast
    pixels *= 255
    pixels += 0.5
    return np.clip(pixels, 0, 255, out=pixels).astype(np.uint8)
