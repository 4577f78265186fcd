"""Line charts as SVG: real text in any script, colours for light and dark mode, the same bytes for the same data.

Colours and fonts come from chart.css. The page includes it once, each file under figures/ has its own copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html import escape
from importlib import resources
from math import ceil, floor, log10

from pipeline_lib.report.headline import percent

# So wide that the text of a drawing can be read on a phone, which makes it smaller by a fifth.
WIDTH, HEIGHT = 420, 280
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 46, 44
ROW, GAP = 18, 18  # of the keys of a legend: the height of a row, and the space between two keys
MAX_MARKS = 40
NUM_COLOURS = 6
NEAR_ALL = 0.8  # shares from here on are near 100 %
SMALLEST_PART = 0.01  # of the axis below the lowest zoomed value
FLAT = 1e-9  # a range smaller than this, beside its values or 1, is one value


@dataclass(frozen=True)
class Line:
    """A named line of (x, y) points; `colour` is an index into the palette, None is the grey of a baseline.

    The points of a line that is not `marked` have no marks, as those of an outline.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: int | None = 0
    dashed: bool = False
    in_legend: bool = True
    ringed: float | None = None  # x of the point to ring
    marked: bool = True


@dataclass(frozen=True)
class Axes:
    """Labels and ticks of the axes; `percent` writes y in percent, `log_x` makes x logarithmic.

    `zoomed` percent do not start at 0 if all lines but the grey ones are near 100 %.
    """

    x_label: str
    y_label: str
    percent: bool = False
    zoomed: bool = False
    log_x: bool = False
    x_ticks: Sequence[float] = field(default_factory=tuple)


class Scale:
    """Maps values to pixels, linearly or logarithmically."""

    def __init__(self, low: float, high: float, start: float, end: float, log: bool = False) -> None:
        self._of = log10 if log else float
        self._low, self._high = self._of(low), self._of(high)
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        """Return the pixel of a value; the middle for a range of one value."""
        if self._high == self._low:
            return (self._start + self._end) / 2
        share = (self._of(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)


def nice_ticks(low: float, high: float, number: int = 5) -> list[float]:
    """Return about `number` round values that cover low .. high, 1, 2 or 5 times a power of ten apart.

    >>> nice_ticks(0.13, 0.92)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    size = max(abs(low), abs(high))
    span = high - low if high - low > FLAT * max(size, 1.0) else size if size > FLAT else 1.0
    raw = span / number
    power = 10.0 ** floor(log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [round(tick * step, 10) for tick in range(first, max(last, first + 1) + 1)]


def plain(text: str) -> str:
    """Return text for XML: markup is escaped, control characters become the replacement character."""
    return escape("".join(sign if sign.isprintable() or sign == " " else "\ufffd" for sign in text))


def text_width(text: str) -> float:
    """Return the approximate width of a text of 12 px; Chinese characters are as wide as high."""
    return sum(12 if ord(sign) > 0x2E80 else 6.6 for sign in text)


def line_chart(title: str, lines: Sequence[Line], axes: Axes) -> str:
    """Return an <svg> element, to be styled by chart.css. Points must be finite."""
    xs = [x for line in lines for x, _ in line.points]
    y_ticks = _y_ticks(lines, axes)
    if cut := y_ticks[0] > min(y for line in lines for _, y in line.points):
        lines = [_above(line, y_ticks[0]) for line in lines]
    x_ticks = [tick for tick in axes.x_ticks or _whole_ticks(min(xs), max(xs)) if min(xs) <= tick <= max(xs)]
    across = Scale(min(xs), max(xs), LEFT, WIDTH - RIGHT, axes.log_x)
    legend, top = _legend(lines)
    upward = Scale(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, top)
    body = [title_text(title), *legend]
    body += [y_tick(upward(tick), tick, axes.percent) for tick in y_ticks]
    body += [x_tick(across(tick), tick) for tick in x_ticks]
    if axes.zoomed and y_ticks[0] > 0:
        note = f"the axis starts at {y_ticks[0] * 100:g} %{'; the grey lines are below it' * cut}"
        body.append(f'<text class="chart-note" x="{WIDTH - RIGHT}" y="{HEIGHT - BOTTOM - 6}">{note}</text>')
    body.append(f'<path class="chart-axis" d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
    body += axis_labels(axes.x_label, axes.y_label)
    body += [_line(line, across, upward, axes) for line in lines]
    label = f"{title}: {axes.y_label} over {axes.x_label}, " + ", ".join(line.name for line in lines)
    return svg(WIDTH, HEIGHT, label, body)


def _y_ticks(lines: Sequence[Line], axes: Axes) -> list[float]:
    """Return the ticks of y; percent start at 0, or below the lowest value of zoomed lines near 100 %."""
    ys = [y for line in lines for _, y in line.points]
    if not axes.percent:
        return nice_ticks(min(ys), max(ys))
    own = [y for line in lines if line.colour is not None for _, y in line.points] or ys
    low, high = 0.0, max(ys)
    if axes.zoomed and min(own) >= NEAR_ALL:
        low = min(own) - max(0.25 * (high - min(own)), SMALLEST_PART)
    ticks = [tick for tick in nice_ticks(low, high) if tick <= 1.0 + 1e-9]
    return ticks if ticks[-1] >= high - 1e-9 else [*ticks, 1.0]


def _above(line: Line, low: float) -> Line:
    """Return a line without the points below the axis."""
    return replace(line, points=[(x, y) for x, y in line.points if y >= low])


def svg(width: float, height: float, label: str, body: Sequence[str], full_size: bool = False) -> str:
    """Return the <svg> element around drawn parts, with a label for screen readers.

    A `full_size` drawing has its own size in pixels, so a page scrolls it.
    """
    size = f' width="{width:.0f}" height="{height:.0f}"' if full_size else ""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" class="chart"{size} viewBox="0 0 {width:g} {height:g}"'
    return f'{head} role="img" aria-label="{plain(label)}">\n' + "\n".join(body) + "\n</svg>"


def standalone(element: str) -> str:
    """Return the element as a file of its own, with its styles and a background."""
    styles = resources.files(__package__).joinpath("chart.css").read_text(encoding="utf-8")
    head, rest = element.split(">", 1)
    background = '<rect class="chart-ground" width="100%" height="100%"/>'
    return f"{head}>\n<style>\n{styles}</style>\n{background}{rest}\n"


def axis_labels(x_label: str, y_label: str, height: float = HEIGHT, bottom: float = BOTTOM) -> list[str]:
    """Return the labels of both axes, that of y turned, for a drawing of WIDTH and a height."""
    across, upward = (LEFT + WIDTH - RIGHT) / 2, (TOP + height - bottom) / 2
    turn = f'transform="rotate(-90 14 {upward:g})"'
    return [
        f'<text class="chart-label" x="{across:g}" y="{height - 8:g}">{plain(x_label)}</text>',
        f'<text class="chart-label" x="14" y="{upward:g}" {turn}>{plain(y_label)}</text>',
    ]


def _whole_ticks(low: float, high: float) -> list[float]:
    return [tick for tick in nice_ticks(low, high, 6) if tick == int(tick)]


def y_tick(y: float, value: float, percent: bool = False) -> str:
    """Return a line across the drawing at a height, with its value at the left."""
    text = f"{value * 100:g} %" if percent else f"{value:,g}"
    rule = f'<path class="chart-grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
    return f'{rule}<text class="chart-tick-y" x="{LEFT - 8}" y="{y + 4:.1f}">{text}</text>'


def x_tick(x: float, value: float, height: float = HEIGHT) -> str:
    """Return a value under the horizontal axis of a drawing of a height."""
    return f'<text class="chart-tick-x" x="{x:.1f}" y="{height - BOTTOM + 17:g}">{value:,g}</text>'


def title_text(title: str) -> str:
    """Return the title of a drawing."""
    return f'<text class="chart-title" x="4" y="15">{plain(title)}</text>'


def legend_places(names: Sequence[str], lead: float) -> list[tuple[float, float]]:
    """Return x and y of each key, so that no row is wider than the drawing; `lead` is the width of a key's sign."""
    places, x, y = [], 4.0, 33.0
    for name in names:
        width = lead + text_width(name)
        if x > 4.0 and x + width > WIDTH:
            x, y = 4.0, y + ROW
        places.append((x, y))
        x += width + GAP
    return places


def plot_top(places: Sequence[tuple[float, float]]) -> float:
    """Return where the plot starts below a legend."""
    return max((y for _, y in places), default=33.0) + TOP - 33


def _legend(lines: Sequence[Line]) -> tuple[list[str], float]:
    """Return the legend's elements, and where the plot below it starts."""
    shown = [line for line in lines if line.in_legend]
    places = legend_places([line.name for line in shown], 24)
    parts = []
    for line, (x, y) in zip(shown, places, strict=True):
        dash = " chart-dashed" if line.dashed else ""
        parts.append(f'<path class="chart-line {_colour(line)}{dash}" d="M{x:g} {y - 4:g}h18"/>')
        parts.append(f'<text class="chart-key" x="{x + 24:g}" y="{y:g}">{plain(line.name)}</text>')
    return parts, plot_top(places)


def _colour(line: Line) -> str:
    return "chart-quiet" if line.colour is None else f"chart-c{line.colour % NUM_COLOURS}"


def _line(line: Line, across: Scale, upward: Scale, axes: Axes) -> str:
    if not line.points:
        return ""
    path = "L".join(f"{across(x):.1f} {upward(y):.1f}" for x, y in line.points)
    dash = " chart-dashed" if line.dashed else ""
    parts = [f'<path class="chart-line {_colour(line)}{dash}" d="M{path}"/>']
    if line.marked and line.colour is not None and len(line.points) <= MAX_MARKS:
        for x, y in line.points:
            value = percent(y) if axes.percent else f"{y:.4g}"
            tooltip = f"<title>{plain(line.name)} · {plain(axes.x_label)} {x:g}: {value}</title>"
            size, ring = (5, " chart-ring") if x == line.ringed else (2.5, "")
            where = f'cx="{across(x):.1f}" cy="{upward(y):.1f}" r="{size}"'
            parts.append(f'<circle class="chart-mark {_colour(line)}{ring}" {where}>{tooltip}</circle>')
    return "".join(parts)
