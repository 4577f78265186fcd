"""Languages and directions of texts, beginnings of long ones, and the orders of the table of classes."""

import polars as pl
import pytest

from pipeline_lib.artifacts.schemas import CLASS_SCHEMA
from pipeline_lib.report.class_order import ORDERS, sort_keys, sortable_rows
from pipeline_lib.report.languages import LONGEST, is_long, language, script_attributes, shortened


@pytest.mark.parametrize(
    ("text", "tag"),
    [("红色杯子", "zh"), ("赤いマグカップ", "ja"), ("빨간 머그", "ko"), ("كوب أحمر", "ar"), ("ספל אדום", "he"),
     ("लाल मग", "hi"), ("แก้วแดง", "th"), ("красная кружка", "ru"), ("κούπα", "el"), ("red mug", "en"), ("", "en"),
     ("Red mug كوب", "ar")],
)  # fmt: skip
def test_the_language_is_that_of_the_script(text, tag):
    assert language(text) == tag
    assert script_attributes(text) == f'lang="{tag}" dir="auto"'


@pytest.mark.parametrize("text", ["", "red mug", "x" * LONGEST, "杯" * (LONGEST // 2)])
def test_short_texts_stay(text):
    assert shortened(text) == text and not is_long(text)


@pytest.mark.parametrize("text", ["word " * 60, "x" * 400, "红色杯子" * 60, "كوب أحمر " * 40, "a " + "x" * 300])
def test_long_texts_are_cut_at_a_word_if_there_is_one(text):
    beginning = shortened(text)
    assert is_long(text) and not is_long(beginning[:-1]) and beginning[-1] == "…"
    assert text.startswith(beginning[:-1]) and len(beginning) > LONGEST / 4
    if text == "word " * 60:
        assert beginning.endswith("word…")


def test_the_whole_of_a_long_query_is_on_the_page(make_run, parse):
    long = "A very long description of one product with many words. " * 6
    page = parse(make_run(titles=(long,)).report(queries=3).page)
    headings = [text for _, text in page.all("h3") if text.startswith("A very long")]
    assert headings and all(len(text) <= LONGEST + 1 for text in headings)
    opened = [text for _, text in page.all("details") if text.startswith("Whole text")]
    assert opened and all(long.strip() in text for text in opened)


def table():
    rows = [("test", "b", 0.5, 0.9, 0.7, 3), ("test", "a", 0.5, 0.2, 0.3, 9), ("test", "c", 0.1, 0.2, 0.7, 9)]
    return pl.DataFrame(rows, schema=CLASS_SCHEMA, orient="row")


def test_every_order_is_worked_by_hand():
    places = {
        row["label"]: dict(part.split(":") for part in row["places"].split(";")) for row in sortable_rows(table())
    }
    seen = {key: sorted(places, key=lambda label, key=key: int(places[label][f"--at-{key}"])) for key in ORDERS}
    assert seen == {
        "f1": ["a", "b", "c"], "precision": ["c", "a", "b"], "recall": ["a", "c", "b"], "support": ["a", "c", "b"],
        "name": ["a", "b", "c"],
    }  # fmt: skip
    assert [row["label"] for row in sortable_rows(table())] == seen[sort_keys()[0][0]]


def test_every_order_has_its_rule_in_the_style_sheet():
    from importlib import resources

    css = resources.files("pipeline_lib.report").joinpath("classes.css").read_text(encoding="utf-8")
    default, *others = ORDERS
    assert f"--place: var(--at-{default})" in css
    for key in others:
        assert f'input[value="{key}"]:checked) tbody tr {{ --place: var(--at-{key}); }}' in css
