"""Clouds and bars: points are where their values say, one unit is as long on both axes, and everything is inside."""

import re
from xml.etree import ElementTree

import pytest

from pipeline_lib.report.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, legend_places, text_width
from pipeline_lib.report.svg_plots import FORMS, SHAPES, Cloud, bar_chart, scatter_chart

POINTS = [(0.0, 0.0), (3.0, 0.0), (0.0, 4.0), (1.0, 2.0)]


def drawn(figure, number=1):
    """The points of one cloud; its first path is the key."""
    paths = [one.attrib["d"] for one in ElementTree.fromstring(figure).iter() if "chart-points" in one.get("class", "")]
    return [tuple(map(float, point)) for point in re.findall(r"M([-\d.]+) ([-\d.]+)", paths[number])]


def test_distances_on_the_map_are_those_of_the_data():
    at = drawn(scatter_chart("t", [Cloud("all", POINTS, 0)], "x", "y"))
    unit = (at[1][0] - at[0][0]) / 3
    assert at[0][1] - at[2][1] == pytest.approx(4 * unit, abs=0.3)
    assert at[3] == pytest.approx((at[0][0] + unit, at[0][1] - 2 * unit), abs=0.3)


@pytest.mark.parametrize("points", [[(2.0, 2.0)], [(1.0, 5.0), (1.0, 5.0)], [(0.0, 0.0), (1e-9, 0.0)], POINTS,
                                    [(0.0, 0.0), (1.0, 90.0)], [(0.0, 0.0), (90.0, 1.0)]])  # fmt: skip
def test_every_point_is_inside_the_axes(points):
    figure = scatter_chart("t", [Cloud("all", points, 1)], "x", "y")
    height = float(ElementTree.fromstring(figure).attrib["viewBox"].split()[3])
    for x, y in drawn(figure):
        assert LEFT - 0.1 <= x <= WIDTH - RIGHT + 0.1 and TOP - 0.1 <= y <= height - BOTTOM + 0.6
    assert height <= 1.6 * WIDTH + TOP + BOTTOM + 1


def test_the_rest_lies_below_the_named_clouds():
    figure = scatter_chart("t", [Cloud("named", POINTS, 0), Cloud("rest", POINTS, None)], "x", "y")
    kinds = [
        one.attrib["class"] for one in ElementTree.fromstring(figure).iter() if "chart-points" in one.get("class", "")
    ]
    assert ["chart-quiet" in kind for kind in kinds] == [False, True, True, False]


def test_each_colour_has_a_form_of_its_own():
    assert len(FORMS) == len(SHAPES) == 6 and len(set(zip(FORMS, SHAPES, strict=True))) == 6


def test_bars_are_as_high_and_as_wide_as_their_values():
    figure = bar_chart("t", [(0, 1, 2), (1, 2, 4), (3, 5, 1)], "x", "y", "in words")
    bars = [one.attrib for one in ElementTree.fromstring(figure).iter() if one.get("class") == "chart-bar"]
    heights, widths = ([float(bar[key]) for bar in bars] for key in ("height", "width"))
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.2) == pytest.approx(4 * heights[2], abs=0.4)
    assert widths[2] + 1 == pytest.approx(2 * (widths[0] + 1), abs=0.2)
    assert all(float(bar["y"]) + float(bar["height"]) == pytest.approx(HEIGHT - BOTTOM, abs=0.2) for bar in bars)
    assert ElementTree.fromstring(figure).attrib["aria-label"] == "t: y over x. in words"


def test_keys_wrap_and_none_is_wider_than_the_drawing():
    names = ["a name", "红色杯子红色杯子", "another rather long name", "b", "a third one that is long"]
    places = legend_places(names, 24)
    for name, (x, _) in zip(names, places, strict=True):
        assert x + 24 + text_width(name) <= WIDTH
    assert len({y for _, y in places}) > 1 and len(set(places)) == len(names)


def test_markup_stays_text():
    for figure in (
        scatter_chart("<b>", [Cloud("<i>", POINTS, 0)], "<x>", '"y"'),
        bar_chart("<b>", [(0, 1, 2)], "<x>", '"y"', "<note>"),
    ):
        ElementTree.fromstring(figure)
        assert "<b>" not in figure and "<i>" not in figure
