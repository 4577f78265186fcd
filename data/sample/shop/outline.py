"""Closed outlines, the building blocks of every drawn object.

An outline is an array (points, 2) in the object's own square [-1, 1] x [-1, 1], with x to the right and y down. So an
object can be drawn at any size, rotation and slant with the same pattern.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]


class Part(NamedTuple):
    """One painted outline: `paint` is the name of its fill, `tone` multiplies its brightness."""

    points: Points
    paint: str = "main"
    tone: float = 1.0


# Random generator of one object -> its parts in painting order.
Shape = Callable[[np.random.Generator], list[Part]]


def polygon(*corners: tuple[float, float]) -> Points:
    """Return the outline through the corners."""
    return np.array(corners, dtype=np.float64)


def arc(centre: tuple[float, float], radii: tuple[float, float], start: float, stop: float, count: int = 24) -> Points:
    """Return an open arc of an ellipse; angles are in turns, clockwise on screen from the right."""
    angles = 2 * np.pi * np.linspace(start, stop, count)
    return np.stack([centre[0] + radii[0] * np.cos(angles), centre[1] + radii[1] * np.sin(angles)], axis=1)


def ellipse(x: float, y: float, rx: float, ry: float) -> Points:
    """Return an ellipse around (x, y)."""
    return arc((x, y), (rx, ry), 0.0, 1.0, 36)


def box(left: float, top: float, right: float, bottom: float, radius: float = 0.0) -> Points:
    """Return a rectangle, with rounded corners if `radius` is above 0."""
    if radius <= 0:
        return polygon((left, top), (right, top), (right, bottom), (left, bottom))
    inner = (left + radius, top + radius, right - radius, bottom - radius)
    corners = (
        (inner[2], inner[3], 0.0),
        (inner[0], inner[3], 0.25),
        (inner[0], inner[1], 0.5),
        (inner[2], inner[1], 0.75),
    )
    return np.concatenate([arc((x, y), (radius, radius), turn, turn + 0.25, 7) for x, y, turn in corners])


def stroke(line: Points, width: float) -> Points:
    """Return the outline of a stroke of this width along an open line."""
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    across = along[:, ::-1] * np.array([-1.0, 1.0]) * (width / 2)
    return np.concatenate([line + across, (line - across)[::-1]])


def bar(start: tuple[float, float], stop: tuple[float, float], width: float) -> Points:
    """Return a straight stroke."""
    return stroke(polygon(start, stop), width)


def smooth(points: Points, rounds: int = 2) -> Points:
    """Return the outline with smoothed corners (Chaikin 1974)."""
    for _ in range(rounds):
        following = np.roll(points, -1, axis=0)
        points = np.stack([0.75 * points + 0.25 * following, 0.25 * points + 0.75 * following], axis=1).reshape(-1, 2)
    return points


def turned(*half_widths: tuple[float, float]) -> Points:
    """Return the outline of a solid of revolution from (y, half width) pairs, top first."""
    heights = np.array([y for y, _ in half_widths])
    widths = np.array([width for _, width in half_widths])
    dense = np.linspace(heights[0], heights[-1], 28)
    edge = np.interp(dense, heights, widths)
    padded = np.concatenate([edge[:1], edge, edge[-1:]])
    edge = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    right = np.stack([edge, dense], axis=1)
    return np.concatenate([right, (right * np.array([-1.0, 1.0]))[::-1]])
