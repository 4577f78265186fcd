"""Clouds of points and bars as SVG, beside the line charts of `svg`: the same colours, axes and labels.

A cloud has a shape of its own besides its colour, so that clouds differ without colour too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline_lib.report.svg import (
    BOTTOM,
    HEIGHT,
    LEFT,
    NUM_COLOURS,
    RIGHT,
    ROW,
    TOP,
    WIDTH,
    Scale,
    axis_labels,
    legend_places,
    nice_ticks,
    plain,
    plot_top,
    svg,
    title_text,
    x_tick,
    y_tick,
)

# A mark around its point, as a relative path: a dot and a square are the caps of a line without length.
SHAPES = ("h0", "h0", "m0-4l4 4-4 4-4-4z", "m0-4.2l4 7h-8z", "m-3-3l6 6m0-6l-6 6", "m-4 0h8m-4-4v8")
FORMS = ("chart-dot", "chart-square", "chart-filled", "chart-filled", "chart-cross", "chart-cross")


@dataclass(frozen=True)
class Cloud:
    """Named points (x, y); `colour` is an index into the palette and the shapes, None is the grey of the rest."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int | None


def scatter_chart(title: str, clouds: Sequence[Cloud], x_label: str, y_label: str) -> str:
    """Return an <svg> element; one unit is as long on both axes, so that distances are those of the data.

    There must be a point, and points must be finite.
    """
    points = [point for cloud in clouds for point in cloud.points]
    places = legend_places([cloud.name for cloud in clouds], 16)
    top = plot_top(places)
    (low_x, high_x), (low_y, high_y) = (_ends([point[axis] for point in points]) for axis in (0, 1))
    wide, high = WIDTH - LEFT - RIGHT, 1.4 * WIDTH
    unit = min(wide / (high_x - low_x), high / (high_y - low_y))
    drawn = max(160.0, unit * (high_y - low_y))
    height = top + drawn + BOTTOM
    spare_x, spare_y = (wide / unit - (high_x - low_x)) / 2, (drawn / unit - (high_y - low_y)) / 2
    low_x, high_x, low_y, high_y = low_x - spare_x, high_x + spare_x, low_y - spare_y, high_y + spare_y
    across = Scale(low_x, high_x, LEFT, WIDTH - RIGHT)
    upward = Scale(low_y, high_y, height - BOTTOM, top)
    body = [title_text(title)]
    for cloud, (x, y) in zip(clouds, places, strict=True):
        body.append(_marks(cloud, [(x + 5, y - 4)]))
        body.append(f'<text class="chart-key" x="{x + 16:g}" y="{y:g}">{plain(cloud.name)}</text>')
    body += [y_tick(upward(tick), tick) for tick in _inside(low_y, high_y)]
    body += [x_tick(across(tick), tick, height) for tick in _inside(low_x, high_x)]
    body += axis_labels(x_label, y_label, height)
    # The rest is drawn first, so that it covers no named cloud.
    for cloud in sorted(clouds, key=lambda one: one.colour is not None):
        body.append(_marks(cloud, [(across(x), upward(y)) for x, y in cloud.points]))
    counted = ", ".join(f"{cloud.name} ({len(cloud.points)})" for cloud in clouds)
    return svg(WIDTH, round(height), f"{title}: {y_label} over {x_label}; points of {counted}", body)


def bar_chart(title: str, bins: Sequence[tuple[float, float, float]], x_label: str, y_label: str, note: str) -> str:
    """Return an <svg> element with a bar for each bin (low, high, value); bins may be of any width and have gaps.

    `note` says in words what the bars show, for screen readers.
    """
    low, high = min(one[0] for one in bins), max(one[1] for one in bins)
    ticks = nice_ticks(0, max(value for _, _, value in bins))
    across = Scale(low, high, LEFT, WIDTH - RIGHT)
    upward = Scale(0, ticks[-1], HEIGHT - BOTTOM, TOP - ROW)
    body = [title_text(title)]
    body += [y_tick(upward(tick), tick) for tick in ticks]
    body += [x_tick(across(tick), tick) for tick in _inside(low, high)]
    for left, right, value in bins:
        x, width = across(left), across(right) - across(left)
        gap = min(1.0, width / 5)
        place = f'x="{x + gap / 2:.1f}" y="{upward(value):.1f}" width="{width - gap:.1f}"'
        body.append(f'<rect class="chart-bar" {place} height="{HEIGHT - BOTTOM - upward(value):.1f}"/>')
    body.append(f'<path class="chart-axis" d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
    body += axis_labels(x_label, y_label)
    return svg(WIDTH, HEIGHT, f"{title}: {y_label} over {x_label}. {note}", body)


def _marks(cloud: Cloud, points: Sequence[tuple[float, float]]) -> str:
    number = None if cloud.colour is None else cloud.colour % NUM_COLOURS
    kind = "chart-quiet" if number is None else f"chart-c{number}"
    shape = number or 0
    path = "".join(f"M{x:.1f} {y:.1f}{SHAPES[shape]}" for x, y in points)
    return f'<path class="chart-points {FORMS[shape]} {kind}" d="{path}"/>'


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis: those of the values and a little more, also of equal values."""
    low, high = min(values), max(values)
    more = 0.04 * (high - low) or 0.5
    return low - more, high + more


def _inside(low: float, high: float) -> list[float]:
    return [tick for tick in nice_ticks(low, high) if low <= tick <= high]
