"""The table of corrections: each beside the plain figures, named by what it reads, and a mark for dual softmax."""

from html import unescape

import pytest
from made_corrections import add_corrections

from pipeline_lib.params.evaluate import HubnessKind
from pipeline_lib.report.hubness import NAMES, corrected_rows
from pipeline_lib.report.inputs import read_inputs


@pytest.fixture
def corrected(make_run):
    return add_corrections(make_run())


def test_each_correction_stands_under_the_plain_figures(corrected):
    inputs = read_inputs(corrected.folds, corrected.root)
    rows = corrected_rows(inputs.metrics, inputs.intervals)
    assert [(row.title, row.kind) for row in rows] == [
        ("Test, text → image", ""),
        ("inverted softmax", "inverted_softmax"),
        ("dual softmax", "dual_softmax"),
        ("QB-Norm", "qb_norm"),
        ("Test, image → text", ""),
        ("dual softmax", "dual_softmax"),
    ]
    plain = inputs.metrics["test"]["retrieval"]["text_to_image"]
    assert rows[0].figures["R@1"].value == plain["R@1"] and rows[1].figures["R@1"].value == 0.5
    assert {row.gain for row in rows if row.kind} == {"+2.1 (-1.0 to +5.2)"}
    assert [row.source for row in rows[:4]] == [
        "", "60,000 training texts", "all 20 measured queries", "60,000 training texts; corrects 13 of 20 queries",
    ]  # fmt: skip
    assert rows[5].source == "all 20 measured products"
    assert [row.of_test for row in rows] == [False, False, True, False, False, True]


def test_the_page_marks_what_reads_all_test_queries(corrected, parse):
    text = corrected.report().page
    page = parse(text)
    for kind in NAMES:
        cells = [inner for _, inner in page.all("tr", correction=kind)]
        assert cells and all(("⚠" in inner) == (kind == "dual_softmax") for inner in cells)
    assert "A search answers one query at a time and cannot do that" in unescape(text)
    # The headline's own table keeps the plain figures.
    assert len(page.all("tr", split="test", task="text_to_image")) == 1


def test_without_corrections_there_is_no_table(make_run):
    assert "corrected for hubness" not in make_run().report().page


def test_every_correction_has_a_name():
    assert set(NAMES) == set(HubnessKind.__args__)
