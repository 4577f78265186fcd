"""Charts: points at the position of their values, round ticks, and text that is never markup."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.artifacts.schemas import CONFUSION_SCHEMA, CURVE_SCHEMA, RANKS_SCHEMA
from pipeline_lib.evaluation.plot_tables import curve_table
from pipeline_lib.metrics.tied_ranks import random_order
from pipeline_lib.report.chance import Chance, retrieval_chance
from pipeline_lib.report.figures import confusion_matrix, learning_curves, recall_curves
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


def confusion(labels: list[str]) -> pl.DataFrame:
    rows = [("test", label, label, 3) for label in labels] + [("test", labels[0], labels[1], 1)]
    return pl.DataFrame(rows, schema=CONFUSION_SCHEMA, orient="row").drop("split")


def test_matrix_cells_have_tooltips_and_colours_for_right_and_wrong():
    labels = ["杯子", "plate", "vase"]
    figure = confusion_matrix(confusion(labels), labels, "Confusion")
    titles = [element.text for element in ElementTree.fromstring(figure).iter(f"{NAME}title")]
    assert sorted(titles) == sorted(
        [
            "杯子 predicted as 杯子: 3 of 4",
            "杯子 predicted as plate: 1 of 4",
            "plate predicted as plate: 3 of 3",
            "vase predicted as vase: 3 of 3",
        ]
    )
    assert figure.count('class="chart-right"') == 3 and figure.count('class="chart-wrong"') == 1
    assert 'fill-opacity="0.85"' in figure and figure.count(">杯子</text>") == 2


@pytest.mark.parametrize(("num", "names", "counts"), [(25, True, True), (30, True, False), (81, False, False)])
def test_matrices_of_many_classes_drop_counts_then_names(num, names, counts):
    labels = [f"class {i:02d}" for i in range(num)]
    figure = confusion_matrix(confusion(labels), labels, "Confusion")
    assert (">class 07</text>" in figure) == names
    assert ('class="chart-count"' in figure) == counts
    assert "class 80" not in figure or "class 80 predicted as class 80" in figure


def test_markup_and_control_characters_in_names_stay_text():
    labels = ["<b>&\x01", "a"]
    for figure in (
        confusion_matrix(confusion(labels), labels, "t<i>"),
        line_chart("t", [Line("<b>\x02", [(0, 1.0)])], Axes("<x>", '"y"')),
    ):
        assert "<b>" not in figure
        ElementTree.fromstring(figure)


def test_a_figure_file_carries_its_own_colours_for_light_and_dark():
    file = standalone(line_chart("t", [Line("a", [(0, 1.0)])], Axes("x", "y")))
    ElementTree.fromstring(file)
    assert "prefers-color-scheme: dark" in file and "chart-ground" in file
