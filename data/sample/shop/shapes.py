"""The outlines of the shop's products, one function per category.

Each function takes the product's own random generator, so no two mugs have the same handle, and returns the parts in
painting order. Numbers are positions in the object's square.
"""

import numpy as np

from shop.outline import Part, Shape, arc, bar, box, ellipse, polygon, smooth, stroke, turned


def _mug(rng: np.random.Generator) -> list[Part]:
    foot, rim, drop = rng.uniform(0.42, 0.6), rng.uniform(0.52, 0.64), rng.uniform(0.25, 0.4)
    handle = arc((rim - 0.04, 0.0), (rng.uniform(0.28, 0.42), drop), -0.25, 0.25)
    body = turned((-0.72, rim), (0.45, (rim + foot) / 2), (0.72, foot))
    return [Part(stroke(handle, 0.13), "second"), Part(body), Part(ellipse(0, -0.72, rim, 0.13), "main", 0.62)]


def _bowl(rng: np.random.Generator) -> list[Part]:
    depth, foot = rng.uniform(0.6, 0.8), rng.uniform(0.25, 0.4)
    body = np.concatenate([arc((0, -0.3), (0.95, depth), 0.0, 0.5), arc((0, -0.3), (0.95, 0.2), 0.5, 1.0)])
    base = box(-foot, depth - 0.38, foot, depth - 0.22, 0.04)
    return [
        Part(base, "second"),
        Part(body),
        Part(ellipse(0, -0.3, 0.95, 0.2), "second"),
        Part(ellipse(0, -0.29, 0.86, 0.15), "main", 0.62),
    ]


def _vase(rng: np.random.Generator) -> list[Part]:
    neck, belly, low = rng.uniform(0.16, 0.28), rng.uniform(0.5, 0.68), rng.uniform(0.1, 0.4)
    stems = [Part(bar((0, -0.5), (x, -1.0), 0.05), "leaf") for x in rng.uniform(-0.35, 0.35, int(rng.integers(0, 4)))]
    blooms = [Part(ellipse(float(stem.points[1, 0]), -0.98, 0.13, 0.13), "second") for stem in stems]
    body = turned((-0.65, neck + 0.12), (-0.45, neck), (low, belly), (0.75, belly * 0.8), (0.92, 0.34))
    return [*stems, *blooms, Part(body), Part(ellipse(0, -0.65, neck + 0.1, 0.07), "second", 0.7)]


def _bottle(rng: np.random.Generator) -> list[Part]:
    width, shoulder, neck = rng.uniform(0.32, 0.44), rng.uniform(-0.4, -0.15), rng.uniform(0.12, 0.18)
    body = turned((-0.8, neck), (shoulder - 0.15, neck), (shoulder + 0.12, width), (0.9, width), (0.95, width - 0.08))
    cap = box(-neck - 0.05, -1.0, neck + 0.05, -0.76, 0.04)
    return [Part(body), Part(cap, "second")]


def _teapot(rng: np.random.Generator) -> list[Part]:
    handle = arc((0.55, 0.1), (0.42, 0.4), -0.28, 0.28)
    spout = polygon((-0.4, 0.3), (-0.8, -0.25), (-0.98, -0.4), (-0.82, -0.45), (-0.5, -0.1))
    return [
        Part(stroke(handle, 0.12), "second"),
        Part(smooth(spout)),
        Part(ellipse(0, 0.2, 0.68, rng.uniform(0.5, 0.6))),
        Part(ellipse(0, -0.3, 0.36, 0.1), "second"),
        Part(ellipse(0, -0.45, 0.09, 0.09), "second"),
    ]


def _lamp(rng: np.random.Generator) -> list[Part]:
    top, wide, low = rng.uniform(0.22, 0.5), rng.uniform(0.62, 0.8), rng.uniform(-0.15, 0.05)
    shade = polygon((-top, -0.95), (top, -0.95), (wide, low), (-wide, low))
    foot = ellipse(0, 0.88, rng.uniform(0.3, 0.45), 0.1)
    return [Part(bar((0, low), (0, 0.9), rng.uniform(0.07, 0.16)), "second"), Part(foot, "second"), Part(shade)]


def _legs(xs: list[float], top: float, bottom: float, spread: float, width: float) -> list[Part]:
    return [Part(bar((x, top), (x * (1 + spread), bottom), width), "second", 0.9) for x in xs]


def _chair(rng: np.random.Generator) -> list[Part]:
    half, seat = rng.uniform(0.48, 0.58), rng.uniform(0.12, 0.25)
    back = box(-half, -0.95, half, seat - 0.2, rng.uniform(0.05, 0.3))
    cushion = polygon((-half, seat), (half, seat), (half + 0.14, seat + 0.26), (-half - 0.14, seat + 0.26))
    legs = _legs([-half, half], seat, 0.95, 0.18, 0.11) + _legs([-half + 0.15, half - 0.15], seat, 0.78, 0.0, 0.09)
    posts = [Part(bar((x, -0.3), (x, seat + 0.1), 0.09), "second") for x in (-half + 0.08, half - 0.08)]
    return [*legs, *posts, Part(back), Part(cushion, "main", 1.08)]


def _stool(rng: np.random.Generator) -> list[Part]:
    half, spread = rng.uniform(0.42, 0.55), rng.uniform(0.2, 0.5)
    seat = ellipse(0, -0.45, half + 0.16, 0.2)
    rim = box(-half - 0.16, -0.47, half + 0.16, -0.25, 0.1)
    rung = bar((-half * 1.1, 0.4), (half * 1.1, 0.4), 0.08)
    return [
        *_legs([-half, 0.0, half], -0.3, 0.95, spread, 0.12),
        Part(rung, "second"),
        Part(rim, "main", 0.8),
        Part(seat),
    ]


def _table(rng: np.random.Generator) -> list[Part]:
    far = rng.uniform(0.68, 0.85)
    top = polygon((-far, -0.45), (far, -0.45), (0.98, -0.02), (-0.98, -0.02))
    edge = box(-0.98, -0.03, 0.98, rng.uniform(0.1, 0.2))
    legs = _legs([-0.86, 0.86], 0.1, 0.9, 0.0, 0.13) + _legs([-0.55, 0.55], 0.1, 0.66, 0.0, 0.1)
    return [*legs, Part(edge, "main", 0.75), Part(top)]


def _clock(rng: np.random.Generator) -> list[Part]:
    hours = rng.uniform(0, 1, 2)
    square = rng.uniform() < 0.35
    rim = box(-0.85, -0.85, 0.85, 0.85, 0.12) if square else ellipse(0, 0, 0.92, 0.92)
    ticks = [arc((0, 0), (0.47, 0.47), turn, turn + 0.001, 2).mean(axis=0) for turn in np.arange(12) / 12]
    marks = [Part(ellipse(x, y, 0.035, 0.035), "dark") for x, y in ticks]
    hands = [
        Part(bar((0, 0), (reach * np.cos(2 * np.pi * turn), reach * np.sin(2 * np.pi * turn)), 0.07), "second", 0.8)
        for turn, reach in zip(hours, (0.38, 0.26), strict=True)
    ]
    return [Part(rim), Part(ellipse(0, 0, 0.56, 0.56), "light"), *marks, *hands]


def _cushion(rng: np.random.Generator) -> list[Part]:
    sag, edge = rng.uniform(0.1, 0.22), 0.88
    corners = (
        (-edge, -edge),
        (0, -edge + sag),
        (edge, -edge),
        (edge - sag, 0),
        (edge, edge),
        (0, edge - sag),
        (-edge, edge),
        (-edge + sag, 0),
    )
    outline = smooth(polygon(*corners), 3)
    tassels = [Part(ellipse(x, y, 0.11, 0.11), "second") for x in (-0.8, 0.8) for y in (-0.8, 0.8)]
    return [*tassels, Part(outline * 1.06, "second"), Part(outline)]


def _bag(rng: np.random.Generator) -> list[Part]:
    top, low, reach = rng.uniform(0.55, 0.7), rng.uniform(0.68, 0.85), rng.uniform(0.5, 0.75)
    handle = stroke(arc((0, -0.25), (top * 0.6, reach), 0.5, 1.0), 0.1)
    body = smooth(
        polygon(
            (-top, -0.3), (top, -0.3), (top, -0.2), (low, 0.8), (low, 0.95), (-low, 0.95), (-low, 0.8), (-top, -0.2)
        ),
        1,
    )
    return [Part(handle, "second"), Part(body), Part(box(-top, -0.32, top, -0.2), "second", 0.85)]


def _backpack(rng: np.random.Generator) -> list[Part]:
    half, pocket = rng.uniform(0.52, 0.64), rng.uniform(0.1, 0.25)
    loop = stroke(arc((0, -0.75), (0.18, 0.22), 0.5, 1.0), 0.08)
    straps = [
        Part(stroke(arc((x, 0.1), (0.22, 0.55), turn, turn + 0.5), 0.1), "second", 0.8)
        for x, turn in ((-half, 0.25), (half, -0.25))
    ]
    body = box(-half, -0.8, half, 0.92, 0.34)
    front = box(-half + 0.12, pocket, half - 0.12, 0.84, 0.14)
    flap = box(-half + 0.12, pocket, half - 0.12, pocket + 0.12, 0.04)
    return [*straps, Part(loop, "second"), Part(body), Part(front, "main", 0.82), Part(flap, "second")]


def _hat(rng: np.random.Generator) -> list[Part]:
    crown, tall = rng.uniform(0.45, 0.58), rng.uniform(-0.6, -0.35)
    dome = np.concatenate(
        [arc((0, 0.25), (crown, 0.25 - tall + 0.25), 0.5, 1.0), polygon((crown, 0.35), (-crown, 0.35))]
    )
    brim = ellipse(0, 0.35, rng.uniform(0.88, 0.98), rng.uniform(0.18, 0.27))
    return [Part(brim, "main", 0.85), Part(dome), Part(box(-crown, 0.1, crown, 0.3), "second")]


def _scarf(rng: np.random.Generator) -> list[Part]:
    width, left, right = rng.uniform(0.3, 0.4), rng.uniform(0.6, 0.85), rng.uniform(0.4, 0.7)
    loop = stroke(arc((0, -0.45), (0.42, 0.34), 0.0, 1.0), width)
    tails = ((-0.25, left), (0.22, right))
    fringe = [
        Part(bar((x + step * width, low - 0.02), (x + step * width, low + 0.14), 0.05), "second")
        for x, low in tails
        for step in (-0.4, -0.13, 0.13, 0.4)
    ]
    strips = [
        Part(bar((x * 0.4, -0.2), (x, low), width), "main", tone)
        for (x, low), tone in zip(tails, (0.9, 1.0), strict=True)
    ]
    return [*fringe, *strips, Part(loop, "main", 1.05)]


def _t_shirt(rng: np.random.Generator) -> list[Part]:
    sleeve, half = rng.uniform(-0.25, 0.1), rng.uniform(0.5, 0.6)
    left = ((-0.28, -0.85), (-0.62, -0.75), (-1.0, sleeve - 0.15), (-0.76, sleeve + 0.05), (-half, -0.3), (-half, 0.9))
    body = polygon(*left, *[(-x, y) for x, y in left[::-1]])
    return [Part(body), Part(ellipse(0, -0.84, 0.28, 0.16), "second"), Part(ellipse(0, -0.88, 0.21, 0.12), "dark", 1.2)]


def _skirt(rng: np.random.Generator) -> list[Part]:
    waist, hem, low = rng.uniform(0.3, 0.4), rng.uniform(0.65, 0.98), rng.uniform(0.55, 0.9)
    across = np.linspace(1, -1, 25)
    wave = np.stack([hem * across, low + 0.05 * np.cos(across * 14) - 0.1 * across**2], axis=1)
    return [
        Part(np.concatenate([polygon((-waist, -0.7), (waist, -0.7)), wave])),
        Part(box(-waist, -0.85, waist, -0.68), "second"),
    ]


def _trousers(rng: np.random.Generator) -> list[Part]:
    waist, hem, apart = rng.uniform(0.4, 0.48), rng.uniform(0.16, 0.28), rng.uniform(0.3, 0.42)
    right = ((waist, -0.85), (waist + 0.06, -0.4), (apart + hem, 0.95), (apart - hem + 0.05, 0.95), (0.0, -0.2))
    body = polygon(*right, *[(-x, y) for x, y in right[-2::-1]])
    return [Part(body), Part(box(-waist, -0.95, waist, -0.8), "second"), Part(bar((0, -0.8), (0, -0.25), 0.03), "dark")]


def _shoe(rng: np.random.Generator) -> list[Part]:
    collar, toe = rng.uniform(-0.4, -0.2), rng.uniform(0.0, 0.15)
    upper = smooth(
        polygon(
            (-0.92, collar), (-0.4, collar), (-0.3, collar + 0.1), (0.3, toe), (0.9, 0.2), (0.96, 0.5), (-0.95, 0.5)
        ),
        1,
    )
    laces = [
        Part(bar((x, y - 0.12), (x + 0.14, y + 0.06), 0.06), "light")
        for x, y in ((-0.3, 0.0), (-0.08, 0.06), (0.14, 0.12))
    ]
    return [
        Part(upper),
        Part(smooth(polygon((-0.95, 0.42), (0.98, 0.42), (0.94, 0.66), (-0.95, 0.66)), 1), "second"),
        *laces,
    ]


def _boot(rng: np.random.Generator) -> list[Part]:
    top, ankle = rng.uniform(-0.95, -0.6), rng.uniform(0.1, 0.25)
    upper = smooth(polygon((-0.6, top), (0.12, top), (0.1, ankle), (0.72, ankle + 0.2), (0.84, 0.78), (-0.62, 0.78)), 1)
    sole = polygon((-0.62, 0.72), (0.86, 0.72), (0.86, 0.86), (-0.2, 0.86), (-0.2, 0.96), (-0.62, 0.96))
    return [Part(upper), Part(sole, "dark"), Part(box(-0.6, top, 0.12, top + 0.16, 0.03), "second")]


def _umbrella(rng: np.random.Generator) -> list[Part]:
    rise, reach = rng.uniform(0.6, 0.85), rng.uniform(0.7, 0.95)
    dome = arc((0, 0.0), (0.98, rise), 0.5, 1.0, 30)
    hem = np.concatenate([arc((x, 0.02), (0.196, 0.1), 0.0, -0.5, 8) for x in (0.784, 0.392, 0.0, -0.392, -0.784)])
    hook = stroke(arc((0.13, reach - 0.12), (0.13, 0.14), 0.5, 0.0, 10), 0.08)
    ribs = [Part(bar((0, -rise), (x, -0.02), 0.03), "second") for x in (-0.6, -0.2, 0.2, 0.6)]
    return [
        Part(bar((0, -rise - 0.1), (0, reach - 0.1), 0.06), "dark"),
        Part(hook, "second"),
        Part(np.concatenate([dome, hem])),
        *ribs,
    ]


SHAPES: dict[str, Shape] = {
    "mug": _mug,
    "bowl": _bowl,
    "vase": _vase,
    "bottle": _bottle,
    "teapot": _teapot,
    "lamp": _lamp,
    "chair": _chair,
    "stool": _stool,
    "table": _table,
    "clock": _clock,
    "cushion": _cushion,
    "bag": _bag,
    "backpack": _backpack,
    "hat": _hat,
    "scarf": _scarf,
    "t-shirt": _t_shirt,
    "skirt": _skirt,
    "trousers": _trousers,
    "shoe": _shoe,
    "boot": _boot,
    "umbrella": _umbrella,
}
