"""The page of a comparison in a real headless Chromium: no error, no request, no serious fault, and it fits a phone."""

import itertools

import polars as pl
import pytest
from chromium import headless, serious_faults
from compared_runs import changed, make_run

from pipeline_lib.experiments.compare.comparison import Options, compare
from pipeline_lib.experiments.compare.settings import Setting
from pipeline_lib.report.comparison_page import write_page

TEXTS = (
    "红色杯子 — 手工",
    "كوب أحمر (2 لتر)",
    "लाल मग, बड़ा",
    "a-name-without-a-space-that-is-as-long-as-those-of-real-shops",
)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    ranks = ([1, 5, 9, 2, 3, 3, 1, 8], [1, 5, 9, 2, 9, 3, 30, 1], [2, 2, 2, 2, 2, 2, 2, 2])
    runs = [make_run(one, [1] * 8, name) for one, name in zip(ranks, ("first", "second", "third"), strict=True)]
    runs = [changed(run, "queries", text=pl.Series([*TEXTS, *TEXTS])) for run in runs]
    folder = tmp_path_factory.mktemp("comparison")
    write_page(compare([Setting(run.name, [run]) for run in runs], Options()), folder / "page.html", folder)
    return folder / "page.html"


@pytest.fixture(scope="module")
def browser():
    with headless() as started:
        yield started


@pytest.mark.parametrize(("width", "scheme"), list(itertools.product((1200, 375), ("light", "dark"))))
def test_nothing_is_wrong_with_the_page(width, scheme, browser, page_file):
    context, faults = (
        browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True),
        [],
    )
    page = context.new_page()
    page.on("console", lambda line: faults.append(line.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda one: None if one.url.startswith(("file:", "data:")) else faults.append(one.url))
    page.goto(page_file.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert page.locator("table").count() > 1
    assert serious_faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
    assert not faults
