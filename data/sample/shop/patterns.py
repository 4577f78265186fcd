"""Patterns and materials as functions of the object's own coordinates.

A pattern is the share of its print at each pixel, a material the brightness of its texture. Both are closed formulas
whose edges are one pixel soft, so no supersampled picture is needed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.floating[Any]]
Pattern = Callable[[Field, Field, float], Field]


def _soft(distance: Field, pixel: float) -> Field:
    share: Field = np.clip(distance / pixel + 0.5, 0.0, 1.0)
    return share


def _cell(x: Field, period: float) -> Field:
    offset: Field = x - period * np.round(x / period)
    return offset


def _bands(x: Field, period: float, width: float, pixel: float) -> Field:
    return _soft(width / 2 - np.abs(_cell(x, period)), pixel)


def _plain(u: Field, v: Field, pixel: float) -> Field:
    return np.zeros_like(u)


def _striped(u: Field, v: Field, pixel: float) -> Field:
    return _bands(v, 0.56, 0.24, pixel)


def _dots(u: Field, v: Field, period: float, radius: float, pixel: float) -> Field:
    row = np.round(v / period)
    return _soft(radius - np.hypot(_cell(u + 0.5 * period * row, period), v - period * row), pixel)


def _dotted(u: Field, v: Field, pixel: float) -> Field:
    return _dots(u, v, 0.60, 0.19, pixel)


def _checked(u: Field, v: Field, pixel: float) -> Field:
    period = 0.40
    return _soft(np.sin(np.pi * u / period) * np.sin(np.pi * v / period) * (period / np.pi), pixel)


def _zigzag(u: Field, v: Field, pixel: float) -> Field:
    return _bands(v + 1.1 * np.abs(_cell(u, 0.62)), 0.52, 0.20, pixel)


PATTERN_FIELDS: dict[str, Pattern] = {
    "plain": _plain,
    "striped": _striped,
    "dotted": _dotted,
    "checked": _checked,
    "zigzag": _zigzag,
}


class Material(NamedTuple):
    """The look of a surface: `gloss` of its highlight, `opacity`, and the brightness of its texture around 1."""

    gloss: float
    opacity: float
    texture: Callable[[Field, Field], Field]


def _even(u: Field, v: Field) -> Field:
    return np.ones_like(u)


def _brushed(u: Field, v: Field) -> Field:
    texture: Field = 1 + 0.08 * np.cos(5 * u + 0.6) + 0.05 * np.sin(70 * v + 9 * np.sin(3 * u))
    return texture


def _grain(u: Field, v: Field) -> Field:
    texture: Field = 1 + 0.06 * np.sin(38 * v + 2.5 * np.sin(3.1 * u + 1))
    return texture


def _woven(u: Field, v: Field) -> Field:
    texture: Field = 1 + 0.05 * np.sin(45 * u) * np.sin(45 * v)
    return texture


def _creased(u: Field, v: Field) -> Field:
    texture: Field = 1 + 0.05 * np.sin(7 * u + 3 * np.sin(5 * v)) * np.sin(6 * v + 2 * np.sin(4 * u))
    return texture


def _knitted(u: Field, v: Field) -> Field:
    texture: Field = 1 + 0.05 * np.sin(52 * (v + 0.5 * np.abs(_cell(u, 0.26))))
    return texture


def _twilled(u: Field, v: Field) -> Field:
    texture: Field = 0.95 + 0.05 * np.sin(46 * (u + v))
    return texture


MATERIAL_LOOKS: dict[str, Material] = {
    "ceramic": Material(0.60, 1.0, _even),
    "metal": Material(0.35, 1.0, _brushed),
    "glass": Material(0.75, 0.72, _even),
    "wood": Material(0.05, 1.0, _grain),
    "cotton": Material(0.0, 1.0, _woven),
    "leather": Material(0.30, 1.0, _creased),
    "knit": Material(0.0, 1.0, _knitted),
    "denim": Material(0.0, 1.0, _twilled),
}
