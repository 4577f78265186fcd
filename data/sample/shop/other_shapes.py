"""The outlines of the pretraining objects, which the shop does not sell.

They share colours, patterns and materials with the products of the shop, but no category, like a public image-text
collection and a catalogue.
"""

import numpy as np

from shop.outline import Part, Shape, arc, bar, box, ellipse, polygon, smooth, stroke, turned


def _plate(rng: np.random.Generator) -> list[Part]:
    inner = rng.uniform(0.5, 0.65)
    return [
        Part(ellipse(0, 0, 0.95, 0.95), "second"),
        Part(ellipse(0, 0, 0.86, 0.86)),
        Part(ellipse(0, 0, inner, inner), "main", 0.85),
    ]


def _candle(rng: np.random.Generator) -> list[Part]:
    half, top = rng.uniform(0.28, 0.45), rng.uniform(-0.5, -0.2)
    flame = smooth(polygon((0, top - 0.5), (0.13, top - 0.2), (0, top - 0.08), (-0.13, top - 0.2)))
    return [
        Part(bar((0, top - 0.15), (0, top), 0.05), "dark"),
        Part(flame, "light"),
        Part(box(-half, top, half, 0.85)),
        Part(ellipse(0, top, half, 0.09), "main", 0.8),
        Part(ellipse(0, 0.86, half + 0.25, 0.11), "second"),
    ]


def _gift_box(rng: np.random.Generator) -> list[Part]:
    half, top = rng.uniform(0.6, 0.8), rng.uniform(-0.4, -0.1)
    loops = [Part(ellipse(x, top - 0.18, 0.24, 0.14), "second") for x in (-0.22, 0.22)]
    return [
        *loops,
        Part(box(-half, top, half, 0.9)),
        Part(box(-half - 0.06, top - 0.06, half + 0.06, top + 0.2), "main", 1.1),
        Part(box(-0.1, top - 0.06, 0.1, 0.9), "second"),
    ]


def _book(rng: np.random.Generator) -> list[Part]:
    half = rng.uniform(0.5, 0.68)
    pages = box(-half + 0.08, -0.82, half + 0.08, 0.92)
    return [
        Part(pages, "light"),
        Part(box(-half, -0.9, half, 0.84, 0.04)),
        Part(box(-half, -0.9, -half + 0.2, 0.84), "second", 0.85),
    ]


def _kite(rng: np.random.Generator) -> list[Part]:
    half, mid = rng.uniform(0.5, 0.65), rng.uniform(-0.4, -0.15)
    tail = stroke(np.stack([0.15 * np.sin(np.linspace(0, 9, 20)), np.linspace(0.45, 1.0, 20)], axis=1), 0.06)
    body = polygon((0, -0.95), (half, mid), (0, 0.5), (-half, mid))
    return [
        Part(tail, "second"),
        Part(body),
        Part(bar((0, -0.95), (0, 0.5), 0.05), "second"),
        Part(bar((-half, mid), (half, mid), 0.05), "second"),
    ]


def _fan(rng: np.random.Generator) -> list[Part]:
    width = rng.uniform(0.17, 0.22)
    leaf = np.concatenate(
        [arc((0, 0.7), (1.0, 1.5), 0.75 - width, 0.75 + width), arc((0, 0.7), (0.35, 0.5), 0.75 + width, 0.75 - width)]
    )
    tips = arc((0, 0.7), (0.95, 1.45), 0.75 - width, 0.75 + width, 6)
    ribs = [Part(bar((0, 0.75), (float(x), float(y)), 0.05), "second") for x, y in tips]
    return [Part(leaf), *ribs]


def _ball(rng: np.random.Generator) -> list[Part]:
    return [
        Part(ellipse(0, 0, 0.85, 0.85)),
        Part(stroke(arc((rng.uniform(-0.3, 0.3), 0), (0.35, 0.84), 0.25, 0.75), 0.07), "second"),
    ]


def _sock(rng: np.random.Generator) -> list[Part]:
    top, foot = rng.uniform(-0.95, -0.7), rng.uniform(0.6, 0.8)
    body = smooth(
        polygon((-0.5, top), (0.05, top), (0.08, 0.2), (foot, 0.45), (foot, 0.85), (-0.1, 0.85), (-0.5, 0.6)), 2
    )
    return [
        Part(body),
        Part(box(-0.5, top, 0.06, top + 0.22, 0.05), "second"),
        Part(ellipse(foot - 0.08, 0.66, 0.16, 0.2), "second"),
    ]


def _mitten(rng: np.random.Generator) -> list[Part]:
    palm, thumb = (
        box(-0.45, -0.9, 0.35, 0.5, 0.38),
        stroke(polygon((0.2, 0.2), (0.55, -0.1), (0.72, -0.35)), rng.uniform(0.25, 0.32)),
    )
    return [Part(thumb), Part(palm), Part(box(-0.5, 0.45, 0.4, 0.85, 0.06), "second")]


def _tie(rng: np.random.Generator) -> list[Part]:
    wide = rng.uniform(0.25, 0.36)
    blade = polygon((-0.12, -0.62), (0.12, -0.62), (wide, 0.6), (0, 0.95), (-wide, 0.6))
    return [Part(blade), Part(polygon((-0.22, -0.95), (0.22, -0.95), (0.13, -0.6), (-0.13, -0.6)), "second")]


def _dress(rng: np.random.Generator) -> list[Part]:
    hem, waist = rng.uniform(0.6, 0.85), rng.uniform(-0.2, 0.0)
    left = ((-0.12, -0.7), (-0.25, -0.95), (-0.38, -0.92), (-0.4, -0.5), (-0.28, waist), (-hem, 0.9))
    body = polygon(*left, *[(-x, y) for x, y in left[::-1]])
    return [Part(body), Part(box(-0.29, waist - 0.07, 0.29, waist + 0.07), "second")]


def _basket(rng: np.random.Generator) -> list[Part]:
    low, rise = rng.uniform(0.5, 0.65), rng.uniform(0.6, 0.85)
    handle = stroke(arc((0, 0.0), (0.7, rise), 0.5, 1.0), 0.1)
    return [
        Part(handle, "second"),
        Part(polygon((-0.85, 0.0), (0.85, 0.0), (low, 0.85), (-low, 0.85))),
        Part(box(-0.9, -0.06, 0.9, 0.1, 0.07), "second"),
    ]


def _drum(rng: np.random.Generator) -> list[Part]:
    low = rng.uniform(0.45, 0.7)
    body = np.concatenate([box(-0.8, -0.4, 0.8, low)[:2], arc((0, low), (0.8, 0.22), 0.0, 0.5)])
    sticks = [Part(bar((x, -0.35), (-x * 0.6, -0.95), 0.06), "dark", 1.4) for x in (-0.3, 0.3)]
    return [
        Part(body),
        Part(ellipse(0, -0.4, 0.8, 0.24), "second"),
        Part(ellipse(0, -0.41, 0.7, 0.18), "light"),
        *sticks,
    ]


def _suitcase(rng: np.random.Generator) -> list[Part]:
    half, top = rng.uniform(0.5, 0.7), rng.uniform(-0.5, -0.3)
    handle = stroke(polygon((-0.25, top), (-0.25, top - 0.4), (0.25, top - 0.4), (0.25, top)), 0.08)
    wheels = [Part(ellipse(x, 0.88, 0.1, 0.1), "dark") for x in (-half + 0.15, half - 0.15)]
    bands = [Part(box(x - 0.05, top, x + 0.05, 0.82), "second") for x in (-half * 0.5, half * 0.5)]
    return [Part(handle, "dark"), *wheels, Part(box(-half, top, half, 0.82, 0.12)), *bands]


def _tent(rng: np.random.Generator) -> list[Part]:
    peak, door = rng.uniform(-0.25, 0.25), rng.uniform(0.2, 0.35)
    flap = polygon((peak, -0.5), (peak + door, 0.75), (peak - door, 0.75))
    return [
        Part(bar((peak, -0.95), (peak, 0.0), 0.06), "dark"),
        Part(polygon((peak, -0.8), (0.95, 0.75), (-0.95, 0.75))),
        Part(flap, "second", 0.8),
    ]


def _boat(rng: np.random.Generator) -> list[Part]:
    mast = rng.uniform(-0.2, 0.15)
    hull = polygon((-0.95, 0.35), (0.95, 0.35), (0.6, 0.85), (-0.65, 0.85))
    sail = polygon((mast + 0.06, -0.9), (0.8, 0.2), (mast + 0.06, 0.2))
    jib = polygon((mast - 0.08, -0.7), (mast - 0.08, 0.2), (-0.75, 0.2))
    return [
        Part(bar((mast, -0.95), (mast, 0.4), 0.07), "dark", 1.4),
        Part(sail),
        Part(jib, "main", 0.85),
        Part(hull, "second"),
    ]


def _car(rng: np.random.Generator) -> list[Part]:
    roof = rng.uniform(-0.6, -0.4)
    body = smooth(
        polygon(
            (-0.95, 0.45),
            (-0.95, 0.0),
            (-0.55, -0.05),
            (-0.35, roof),
            (0.35, roof),
            (0.6, -0.05),
            (0.95, 0.05),
            (0.95, 0.45),
        ),
        1,
    )
    windows = [
        Part(polygon((-0.4, -0.05), (-0.26, roof + 0.12), (-0.04, roof + 0.12), (-0.04, -0.05)), "light"),
        Part(polygon((0.06, -0.05), (0.06, roof + 0.12), (0.28, roof + 0.12), (0.44, -0.05)), "light"),
    ]
    wheels = [
        Part(ellipse(x, 0.48, radius, radius), paint)
        for x in (-0.5, 0.5)
        for radius, paint in ((0.25, "dark"), (0.12, "second"))
    ]
    return [Part(body), *windows, *wheels]


def _balloon(rng: np.random.Generator) -> list[Part]:
    line = stroke(np.stack([0.08 * np.sin(np.linspace(0, 7, 16)), np.linspace(0.4, 1.0, 16)], axis=1), 0.05)
    body = turned((-0.95, 0.1), (-0.8, 0.45), (-0.35, rng.uniform(0.58, 0.68)), (0.15, 0.36), (0.4, 0.05))
    return [Part(line, "dark"), Part(body), Part(polygon((0, 0.36), (0.12, 0.52), (-0.12, 0.52)), "second")]


def _bell(rng: np.random.Generator) -> list[Part]:
    flare = rng.uniform(0.7, 0.85)
    body = turned((-0.7, 0.2), (-0.4, 0.42), (0.3, 0.5), (0.6, flare))
    return [
        Part(ellipse(0, 0.72, 0.15, 0.15), "dark"),
        Part(stroke(arc((0, -0.75), (0.14, 0.16), 0.5, 1.0), 0.07), "second"),
        Part(body),
        Part(box(-flare, 0.52, flare, 0.66, 0.06), "second"),
    ]


def _flower_pot(rng: np.random.Generator) -> list[Part]:
    low, tall = rng.uniform(0.35, 0.5), rng.uniform(0.6, 0.9)
    leaves = [
        Part(smooth(polygon((0, 0), (x * 0.3 - 0.12, -tall * 0.6), (x, -tall), (x * 0.3 + 0.12, -tall * 0.5))), "leaf")
        for x in (-0.6, -0.2, 0.25, 0.6)
    ]
    return [
        *leaves,
        Part(polygon((-0.6, 0.05), (0.6, 0.05), (low, 0.92), (-low, 0.92))),
        Part(box(-0.68, -0.02, 0.68, 0.2, 0.04), "second"),
    ]


OTHER_SHAPES: dict[str, Shape] = {
    "plate": _plate,
    "candle": _candle,
    "gift box": _gift_box,
    "book": _book,
    "kite": _kite,
    "fan": _fan,
    "ball": _ball,
    "sock": _sock,
    "mitten": _mitten,
    "tie": _tie,
    "dress": _dress,
    "basket": _basket,
    "drum": _drum,
    "suitcase": _suitcase,
    "tent": _tent,
    "boat": _boat,
    "car": _car,
    "balloon": _balloon,
    "bell": _bell,
    "flower pot": _flower_pot,
}
