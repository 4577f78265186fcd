"""Charts: points at the position of their values, round ticks, and text that is never markup."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.artifacts.schemas import CURVE_SCHEMA, RANKS_SCHEMA
from pipeline_lib.evaluation.plot_tables import curve_table
from pipeline_lib.metrics.tied_ranks import random_order
from pipeline_lib.report.chance import Chance, retrieval_chance
from pipeline_lib.report.figures import learning_curves, recall_curves
from pipeline_lib.report.inputs import FoldRun
from pipeline_lib.report.svg import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axes,
    Line,
    line_chart,
    nice_ticks,
    standalone,
)

NAME = "{http://www.w3.org/2000/svg}"


def fold(number: int, rows: dict, best: float | None = None) -> FoldRun:
    model = {} if best is None else {"run": {"best": {"epoch": best}}}
    return FoldRun(number, {"towers": [], "warnings": []}, pl.DataFrame(rows), model)


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.integers(2, 8))
def test_ticks_are_round_evenly_spaced_and_cover_the_range(low, span, number):
    ticks = nice_ticks(low, low + span, number)
    steps = [b - a for a, b in pairwise(ticks)]
    slack = 1e-6 * max(1, abs(low), abs(low + span))
    assert ticks[0] <= low + slack and ticks[-1] >= low + span - slack
    assert max(steps) == pytest.approx(min(steps), rel=1e-3, abs=1e-9)
    assert 2 <= len(ticks) <= number + 3


def test_points_are_at_the_position_of_their_values():
    chart = line_chart("t", [Line("a", [(0, 0.0), (10, 1.0)])], Axes("x", "y", percent=True))
    path = re.search(r'class="chart-line chart-c0" d="M([\d. L]+)"/>(?=<circle)', chart).group(1)
    assert path == f"{LEFT:.1f} {HEIGHT - BOTTOM:.1f}L{WIDTH - RIGHT:.1f} {TOP:.1f}"
    assert "a · x 10: 100.0 %" in chart


def test_a_log_axis_gives_equal_ratios_equal_widths():
    chart = line_chart("t", [Line("a", [(1, 0), (10, 1), (100, 2)])], Axes("x", "y", log_x=True, x_ticks=(1, 10, 100)))
    xs = [float(x) for x in re.findall(r'class="chart-tick-x" x="([\d.]+)"', chart)]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)


@pytest.mark.parametrize("points", [[(3, 0.5)], [(0, 2.0), (1, 2.0)], [(1, 0.0)], [(0, -1.0), (1, -1.0)]])
@pytest.mark.parametrize("axes", [Axes("x", "y"), Axes("x", "y", percent=True)])
def test_one_point_or_a_flat_line_is_still_a_chart(points, axes):
    if axes.percent and points[0][1] < 0:
        return
    ElementTree.fromstring(line_chart("t", [Line("a", points)], axes))


def test_learning_curves_show_the_columns_of_the_histories():
    rows = {"epoch": [0, 1, 2], "total": [3.0, 2.0, 1.0], "val_loss": [3.0, None, 2.0], "top1": [0.1, 0.2, 0.3]}
    figures = learning_curves([fold(0, rows, best=2.0), fold(3, rows)])
    assert list(figures) == ["learning_loss", "learning_top1"]
    assert figures["learning_top1"].count("chart-ring") == 1
    assert figures["learning_loss"].count("<circle") == 2 * (3 + 2)
    assert "fold 3" in figures["learning_loss"]
    assert learning_curves([fold(0, {"epoch": [0], "lr": [0.1]})]) == {}


def test_values_that_are_not_finite_are_left_out():
    (figure,) = learning_curves([fold(0, {"epoch": [0, 1], "total": [float("inf"), 2.0]})]).values()
    assert figure.count("<circle") == 1 and "inf" not in figure


def test_recall_figures_have_both_splits_and_chance():
    rows = [(s, d, k, k / 20) for s in ("oof", "test") for d in ("text_to_image", "image_to_text") for k in (1, 2, 10)]
    curve = pl.DataFrame(rows, schema=CURVE_SCHEMA, orient="row")
    figures = recall_curves(
        curve, {("test", "text_to_image"): Chance(random_order(np.array([100]), np.array([1])), np.full((1, 1), 5.0))}
    )
    assert set(figures) == {"recall_text_to_image", "recall_image_to_text"}
    keys = [e.text for e in ElementTree.fromstring(figures["recall_text_to_image"]).iter(f"{NAME}text")]
    assert {"test", "out of fold", "chance"} <= set(keys)
    assert "chance" not in figures["recall_image_to_text"]
    assert recall_curves(curve.clear(), {}) == {}


@pytest.mark.parametrize("num_products", [1, 4, 9, 60])
def test_curves_and_chance_of_a_small_gallery_stay_inside_the_axes(num_products):
    rows = [
        (split, "text_to_image", f"q{i}", None, 1.0 + i % num_products, num_products, f"g{i}", 1, 1, 0)
        for split in ("test", "oof")
        for i in range(9)
    ]
    ranks = pl.DataFrame(rows, schema=RANKS_SCHEMA, orient="row")
    (figure,) = recall_curves(curve_table(ranks), retrieval_chance(ranks)).values()
    drawn = ElementTree.fromstring(figure)
    paths = [
        e.attrib["d"]
        for e in drawn.iter(f"{NAME}path")
        if "chart-line" in e.attrib["class"] and "h18" not in e.attrib["d"]
    ]
    points = [[float(value) for value in point.split()] for path in paths for point in path[1:].split("L")]
    assert len(paths) == 4 and len(points) == 4 * num_products
    for x, y in points:
        assert LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM


def test_markup_and_control_characters_in_names_stay_text():
    figure = line_chart("t", [Line("<b>\x02", [(0, 1.0)])], Axes("<x>", '"y"'))
    assert "<b>" not in figure
    ElementTree.fromstring(figure)


def recall_figure(values, chance):
    """A figure of recalls at K = 1, 2, ... and a grey line of `chance`."""
    lines = [
        Line("test", [(k, y) for k, y in enumerate(values, 1)]),
        Line("chance", [(k, chance) for k in range(1, len(values) + 1)], None),
    ]
    return line_chart("Recall@K", lines, Axes("K", "recall", percent=True, zoomed=True))


def shown_ticks(figure):
    ticks = re.findall(r'class="chart-tick-y"[^>]*>([\d.]+) %<', figure)
    return [float(tick) for tick in ticks]


@pytest.mark.parametrize(
    ("values", "first", "last"),
    [
        ((0.97, 0.99, 1.0), 96, 100),
        ((0.9996, 0.9998, 1.0), 98.5, 100),
        ((1.0, 1.0), 98.5, 100),
        ((0.3, 0.97, 1.0), 0, 100),
        ((0.001, 0.004), 0, 0.5),
    ],
)
def test_the_axis_shows_curves_near_all_or_nothing(values, first, last):
    figure = recall_figure(values, 0.0005)
    ticks = shown_ticks(figure)
    assert first - 1 <= ticks[0] <= first + 1 and ticks[-1] == pytest.approx(last, abs=0.6)
    ys = [float(y) for y in re.findall(r'cy="([\d.]+)"', figure)]
    assert len(ys) == len(values) and all(TOP <= y <= HEIGHT - BOTTOM for y in ys)
    assert max(ys) - min(ys) > 0.2 * (HEIGHT - TOP - BOTTOM) or max(values) - min(values) < 0.001
    # A chance level outside the axis is not drawn at a wrong place, but reported.
    assert ("the grey lines are below it" in figure) == (ticks[0] > 0)
    ElementTree.fromstring(figure)


def test_a_figure_file_carries_its_own_colours_for_light_and_dark():
    file = standalone(line_chart("t", [Line("a", [(0, 1.0)])], Axes("x", "y")))
    ElementTree.fromstring(file)
    assert "prefers-color-scheme: dark" in file and "chart-ground" in file
