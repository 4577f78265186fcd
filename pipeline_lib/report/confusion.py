"""The confusion matrix as SVG: confused classes stand side by side, and every class keeps its name at any number.

Classes that are paths stand in the order of their tree, others in chains of the most frequent confusions. A cell is
never smaller than a line of text, so a matrix of many classes is larger than the page, which scrolls it.
"""

from collections.abc import Sequence

import polars as pl

from pipeline_lib.report.class_names import ClassNames, shortened
from pipeline_lib.report.headline import percent
from pipeline_lib.report.svg import plain, svg, text_width

SIDE = 480
LARGEST_CELL, SMALLEST_CELL = 44.0, 15.0
MAX_COUNTED = 25
MAX_SHOWN = 200
BOTH_EDGES = 40  # from so many classes on, the names stand on all four edges
GAP = 16  # between a name and the edge
RULE = 5  # classes between two lines of the grid


def confusion_matrix(confusion: pl.DataFrame, names: ClassNames, labels: Sequence[str], title: str) -> str:
    """Return the matrix: rows are actual classes, columns predicted ones, opacity is the share of the row.

    `confusion` has the columns truth, predicted and count. Above MAX_SHOWN classes, those of the most frequent
    confusions are drawn.
    """
    shown = most_confused(confusion, labels, MAX_SHOWN)
    ordered = sorted(shown, key=names.parts) if names.are_paths else confused_order(confusion, shown)
    position = {label: number for number, label in enumerate(ordered)}
    edges = [shortened(names.short(label)) for label in ordered]
    cell = min(LARGEST_CELL, max(SMALLEST_CELL, SIDE / max(len(ordered), 1)))
    margin = 44 + max((text_width(name) for name in edges), default=0.0)
    side = cell * len(ordered)
    subtitle = f", the {len(shown)} of {len(labels):,} classes with most confusions" if len(shown) < len(labels) else ""
    body = [f'<text class="chart-title" x="0" y="15">{plain(title + subtitle)}</text>']
    body += ['<text class="chart-start" x="0" y="33">actual ↓ predicted →</text>']
    body += _grid(len(ordered), cell, margin)
    body += _cells(confusion, position, names, cell, margin)
    far = side + margin if len(ordered) >= BOTH_EDGES else None
    for number, (label, name) in enumerate(zip(ordered, edges, strict=True)):
        body += _name(label, name, number, cell, margin, far)
    label = f"{title}: confusion matrix of {len(ordered)} classes; the table of classes has the figures"
    # Half of a name that is turned by 60 degrees lies to the right of its column.
    ends = [(number + 0.5) * cell + text_width(name) / 2 + GAP for number, name in enumerate(edges)]
    width = margin + (side + margin if far else max([side, *ends]))
    return svg(width, side + margin * (2 if far else 1) + 10, label, body, full_size=True)


def most_confused(confusion: pl.DataFrame, labels: Sequence[str], num: int) -> list[str]:
    """Return the `num` labels with most wrong predictions, in the order of `labels`; all if there are fewer."""
    if len(labels) <= num:
        return list(labels)
    wrong = confusion.filter(pl.col("truth") != pl.col("predicted"))
    sides = pl.concat([wrong.select(pl.col(side).alias("label"), "count") for side in ("truth", "predicted")])
    times = dict(sides.group_by("label").agg(pl.col("count").sum()).iter_rows())
    chosen = set(sorted(labels, key=lambda label: (-times.get(label, 0), label))[:num])
    return [label for label in labels if label in chosen]


def confused_order(confusion: pl.DataFrame, labels: Sequence[str]) -> list[str]:
    """Return the labels so that confused classes are neighbours: chains of the most frequent confusions, greedily.

    The pair confused most often (both directions together) comes first. Two ends of different chains are joined, and a
    class without a chain stands beside its partner inside one. The longest chain is first, classes that nothing is
    confused with are last.
    """
    known, pairs = set(labels), dict[tuple[str, str], int]()
    for truth, predicted, count in confusion.select("truth", "predicted", "count").iter_rows():
        if truth != predicted and count > 0 and {truth, predicted} <= known:
            pair = (min(truth, predicted), max(truth, predicted))
            pairs[pair] = pairs.get(pair, 0) + count
    chain_of = {label: [label] for label in labels}
    for left, right in sorted(pairs, key=lambda pair: (-pairs[pair], pair)):
        first, second = chain_of[left], chain_of[right]
        if first is second:
            continue
        if left in (first[0], first[-1]) and right in (second[0], second[-1]):
            joined = (first if first[-1] == left else first[::-1]) + (second if second[0] == right else second[::-1])
        elif len(first) == 1:
            joined = _inserted(second, right, left)
        elif len(second) == 1:
            joined = _inserted(first, left, right)
        else:
            continue
        chain_of |= dict.fromkeys(joined, joined)
    chains = {id(chain): chain for chain in chain_of.values()}.values()
    return [label for chain in sorted(chains, key=lambda chain: (-len(chain), min(chain))) for label in chain]


def _inserted(chain: list[str], partner: str, label: str) -> list[str]:
    after = chain.index(partner) + 1
    return [*chain[:after], label, *chain[after:]]


def _grid(num: int, cell: float, margin: float) -> list[str]:
    side = cell * num
    frame = f'<rect class="chart-frame" x="{margin:.1f}" y="{margin:.1f}" width="{side:.1f}" height="{side:.1f}"/>'
    places = [margin + number * cell for number in range(RULE, num, RULE)] if num > MAX_COUNTED else []
    rules = "".join(f"M{margin:.1f} {at:.1f}h{side:.1f}M{at:.1f} {margin:.1f}v{side:.1f}" for at in places)
    return [frame, *([f'<path class="chart-grid" d="{rules}"/>'] if rules else [])]


def _cells(
    confusion: pl.DataFrame, position: dict[str, int], names: ClassNames, cell: float, margin: float
) -> list[str]:
    totals = dict(confusion.group_by("truth").agg(pl.col("count").sum()).iter_rows())
    shown = confusion.filter(pl.col("count") > 0).sort("truth", "predicted")
    body = []
    for truth, predicted, count in shown.select("truth", "predicted", "count").iter_rows():
        if truth not in position or predicted not in position:
            continue
        share = count / totals[truth]
        x, y = margin + position[predicted] * cell, margin + position[truth] * cell
        kind = "right" if truth == predicted else "wrong"
        tooltip = f"actual {plain(names.short(truth))}, predicted {plain(names.short(predicted))}: "
        tooltip += f"{count} of {totals[truth]}, {percent(share)}"
        body.append(
            f'<rect class="chart-{kind}" x="{x:.1f}" y="{y:.1f}" width="{cell - 1:.1f}" height="{cell - 1:.1f}"'
            f' fill-opacity="{0.15 + 0.75 * share:.2f}"><title>{tooltip}</title></rect>'
        )
        if len(position) <= MAX_COUNTED:
            body.append(f'<text class="chart-count" x="{x + cell / 2:.1f}" y="{y + cell / 2 + 3.5:.1f}">{count}</text>')
    return body


def _name(path: str, name: str, number: int, cell: float, margin: float, far: float | None) -> list[str]:
    """Return the name at the left and upper edge, and at the right and lower one if `far` is their place.

    A name that is not the whole `path` has it on hover.
    """
    middle, hover = margin + (number + 0.5) * cell, f"<title>{plain(path)}</title>" if path != name else ""
    drawn = []
    for edge, sides in ((margin - 8, ("end", "start")), (far and far + 8, ("start", "end"))):
        if edge is None:
            continue
        turn = f'transform="rotate(-60 {middle:.1f} {edge:.1f})"'
        for side, x, y, turned in ((sides[0], edge, middle + 4, ""), (sides[1], middle + 4, edge, turn)):
            drawn.append(f'<text class="chart-{side}" x="{x:.1f}" y="{y:.1f}" {turned}>{plain(name)}{hover}</text>')
    return drawn
