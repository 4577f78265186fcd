"""The page of a comparison: pictures from the shards, escaped texts, nothing from a network, bars where they belong."""

import re
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from compared_runs import changed, make_run

from pipeline_lib.experiments.compare.comparison import Options, compare
from pipeline_lib.experiments.compare.settings import Setting
from pipeline_lib.report.comparison_page import Photos, bars, render, write_page

TEXT = '<img src=x onerror="alert(1)"> "lamp" & mug'


@pytest.fixture(scope="module")
def comparison():
    runs = [make_run(ranks, [1] * 8, name) for ranks, name in (
        ([1, 5, 9, 2, 3, 3, 1, 8], "first <run>"), ([1, 5, 9, 2, 9, 3, 30, 1], "second"))]  # fmt: skip
    texts = runs[0].tables["queries"]["text"].to_list()
    runs = [changed(run, "queries", text=pl.Series([*texts[:6], TEXT, texts[7]])) for run in runs]
    return compare([Setting(run.name, [run]) for run in runs], Options())


class Balanced(HTMLParser):
    """Collects tags; fails if one closes that is not open."""

    def __init__(self):
        super().__init__()
        self.open, self.tags = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_escaped_and_needs_no_network(comparison, tmp_path):
    lines = write_page(comparison, tmp_path / "page.html", tmp_path)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert lines[-1] == f"page: {tmp_path / 'page.html'}" and "pictures are left out" in lines[0]
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert not [tag for tag, _ in parser.tags if tag == "script"] and "onerror=&#34;" in text
    assert "first &lt;run&gt;" in text and "<run>" not in text
    assert not re.search(r"(src|href)=.?(https?:)?//", text) and "prefers-color-scheme: dark" in text


def test_pictures_come_from_the_shards_that_hold_the_photos_of_the_runs(comparison, tmp_path, monkeypatch):
    from pipeline_lib.artifacts import paths

    (tmp_path / paths.SHARDS).mkdir(parents=True)
    media = tmp_path / paths.CATALOGUE / "media.parquet"
    media.parent.mkdir(parents=True)
    stored = comparison.settings[0].runs[0].tables["media"]
    stored.write_parquet(media)

    class Drawn:
        def __init__(self, shards, products):
            assert shards == tmp_path / paths.SHARDS and "media" in products.columns

        def of(self, product_id):
            return f"data:image/jpeg;base64,{product_id}"

    monkeypatch.setattr("pipeline_lib.report.comparison_page.Thumbnails", Drawn)
    photos = Photos(comparison, tmp_path)
    page = render(comparison, photos)
    assert 'src="data:image/jpeg;base64,p6"' in page and not photos.missing
    stored.filter(stored["product_id"] != "p6").write_parquet(media)
    other = Photos(comparison, tmp_path)
    page = render(comparison, other)
    assert "base64,p6" not in page and "base64,p7" in page and other.missing


def test_bars_share_an_axis_and_ranks_have_none():
    def row(low, high, metric="R@1", verdict="no significant difference"):
        return {"low": low, "high": high, "difference": (low + high) / 2, "metric": metric, "verdict": verdict}

    found = bars([row(-0.1, 0.3), row(0.1, 0.2, verdict="b is better"), row(-3.0, 2.0, "mean_rank"), row(-9e9, 9e9)])
    assert (found[0].low, found[0].high, found[0].at, found[0].zero, found[0].tone) == (0, 0, 50, 25, "none")
    assert (found[1].low, found[1].high, found[1].tone) == (50, 25, "better") and found[2:] == [None, None]
    worse = bars([row(0.01, 0.02, "ece", "a is better"), row(-0.2, -0.1, "top1", "a is better")])
    assert [bar.tone for bar in worse] == ["worse", "worse"]
    assert bars([row(0.0, 0.0)])[0].zero == 0


def test_the_template_and_styles_are_part_of_the_package():
    folder = Path(__file__).parents[2] / "pipeline_lib/report"
    assert (folder / "comparison.html.j2").is_file() and (folder / "comparison.css").is_file()
