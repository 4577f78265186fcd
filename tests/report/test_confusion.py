"""The confusion matrix at 3 to 500 classes: neighbours are confused classes, and every drawn class has its name."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import polars as pl
import pytest

from pipeline_lib.artifacts.schemas import CONFUSION_SCHEMA
from pipeline_lib.report.class_names import ClassNames
from pipeline_lib.report.confusion import MAX_SHOWN, confused_order, confusion_matrix

NAME = "{http://www.w3.org/2000/svg}"


def table(rows):
    return pl.DataFrame([("test", *row) for row in rows], schema=CONFUSION_SCHEMA, orient="row").drop("split")


def confusion(labels):
    return table([(label, label, 3) for label in labels] + [(labels[0], labels[1], 1)])


def drawn(rows, labels):
    return confusion_matrix(rows, ClassNames(labels), labels, "Confusion")


def test_cells_have_actual_and_predicted_class_and_colours_for_right_and_wrong():
    labels = ["杯子", "plate", "vase"]
    figure = drawn(confusion(labels), labels)
    cells = [e.find(f"{NAME}title").text for e in ElementTree.fromstring(figure).iter(f"{NAME}rect") if len(e)]
    assert sorted(cells) == sorted(
        [
            "actual 杯子, predicted 杯子: 3 of 4, 75.0 %",
            "actual 杯子, predicted plate: 1 of 4, 25.0 %",
            "actual plate, predicted plate: 3 of 3, 100.0 %",
            "actual vase, predicted vase: 3 of 3, 100.0 %",
        ]
    )
    assert figure.count('class="chart-right"') == 3 and figure.count('class="chart-wrong"') == 1
    assert 'fill-opacity="0.90"' in figure and "actual ↓ predicted →" in figure


@pytest.mark.parametrize("num", [5, 25, 26, 40, 81, 200])
def test_every_class_keeps_its_name_in_a_line_of_its_own(num):
    labels = [f"class {i:03d}" for i in range(num)]
    figure = drawn(confusion(labels), labels)
    rows = [float(y) for y in re.findall(r'class="chart-end" x="[\d.]+" y="([\d.]+)" >', figure)]
    assert min(b - a for a, b in pairwise(rows)) >= 14  # a text of 12 px
    assert figure.count(">class 004<") == (4 if num >= 40 else 2)
    assert ('class="chart-count"' in figure) == (num <= 25)
    width, height = (float(value) for value in re.findall(r'(?:width|height)="(\d+)"', figure)[:2])
    assert width > 14 * num and height > 14 * num  # its own size, which the page scrolls
    assert len(figure) < 1200 * num + 2000


def test_a_matrix_of_17_short_names_leaves_room_for_the_table_of_confusions():
    """The page has 1,030 px for both, with 28 between them; four columns of class names need 350."""
    labels = [f"muscle {i:02d}" for i in range(17)]
    figure = drawn(confusion(labels), labels)
    width = float(re.findall(r'width="(\d+)"', figure)[0])
    assert width + 2 * 11 <= 1030 - 28 - 350  # 10 px of padding and a line at each side


def test_of_more_classes_those_with_most_confusions_are_drawn_and_the_title_names_both_numbers():
    labels = [f"class {i:03d}" for i in range(500)]
    rows = confusion(labels).vstack(table([("class 499", "class 250", 9)]))
    figure = drawn(rows, labels)
    assert f"the {MAX_SHOWN} of 500 classes with most confusions" in figure
    assert ">class 499<" in figure and ">class 250<" in figure and ">class 498<" not in figure
    assert figure.count('class="chart-end"') == 2 * MAX_SHOWN


def test_confused_classes_are_neighbours():
    rows = [("d", "a", 5), ("a", "d", 4), ("b", "e", 8), ("a", "e", 2), ("c", "d", 1), ("f", "f", 9), ("g", "a", 1)]
    order = confused_order(table(rows), list("abcdefgh"))
    # a-d 9, b-e 8, then a-e 2 joins the ends; c is at the end d, and g beside its partner a inside the chain.
    assert order == list("cdagebfh")


def test_the_order_holds_every_class_once_and_depends_on_the_counts_only():
    labels = [f"class {i}" for i in range(30)]
    rows = [(f"class {i}", f"class {i * 7 % 30}", 1 + i % 5) for i in range(30)]
    first = confused_order(table(rows), labels)
    assert sorted(first) == sorted(labels) and first == confused_order(table(rows[::-1]), labels)


def test_paths_stand_in_the_order_of_their_tree_and_have_their_leaf():
    labels = ["Home > Mugs", "Shoes > Boots", "Home > Lamps", "Shoes > Sandals"]
    figure = drawn(confusion(labels), labels)
    assert re.findall(r'class="chart-end"[^>]*>([^<]+)<title>([^<]+)<', figure) == [
        ("Lamps", "Home &gt; Lamps"), ("Mugs", "Home &gt; Mugs"),
        ("Boots", "Shoes &gt; Boots"), ("Sandals", "Shoes &gt; Sandals"),
    ]  # fmt: skip


def test_markup_and_control_characters_in_names_stay_text():
    labels = ["<b>&\x01", "a"]
    figure = confusion_matrix(confusion(labels), ClassNames(labels), labels, "t<i>")
    assert "<b>" not in figure and "<i>" not in figure
    ElementTree.fromstring(figure)
