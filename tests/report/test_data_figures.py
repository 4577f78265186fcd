"""The data page: counts, spreads, bars and balance, against values worked by hand."""

from pathlib import Path

import polars as pl
import pytest

from pipeline_lib.report.data_figures import BARS, balance_rows, count_facts, length_bins, size_rows, text_figures
from pipeline_lib.report.inputs import CatalogueTables


def tables(rows, assigned=()):
    """A catalogue of (product_id, photos, text, label) and of (product_id, split, fold)."""
    columns = {"product_id": pl.String, "media": pl.List(pl.String), "text": pl.String, "label": pl.String}
    media = [(key, [f"{key}-{photo}" for photo in range(photos)], text, label) for key, photos, text, label in rows]
    empty = pl.DataFrame()
    counts = {"products": len(rows), "queries": 7, "classes": 2, "rejected": 1}
    folds = pl.DataFrame(list(assigned), schema={"product_id": pl.String, "split": pl.String, "fold": pl.Int64},
                         orient="row")  # fmt: skip
    products = pl.DataFrame(media, schema=columns, orient="row")
    return CatalogueTables(products, empty, empty, empty, counts, [], folds)


FOUR = [("a", 2, "red", "x"), ("b", 0, "", "x"), ("c", 1, None, "y"), ("d", 1, "a longer text", None)]


def test_counts_say_what_is_missing():
    facts = dict(count_facts(tables(FOUR)))
    assert facts["Photos and clips"] == "4"
    assert facts["Products without a photo or clip"] == "1 (25.0 %)"
    assert facts["Products without a text"] == "2 (50.0 %)"
    assert facts["Products without a label"] == "1 (25.0 %)"


def test_spreads_are_smallest_median_largest(tmp_path):
    sizes = pl.DataFrame({"width": [10, 30, 20], "height": [5, 5, 9], "size": [1_000, 2_500, 40_000]})
    sizes.write_parquet(tmp_path / "manifest.parquet")
    rows = {row[0]: row[1:] for row in size_rows(tables(FOUR), Path(tmp_path))}
    assert rows["Characters of a text"] == ["3", "13", "13"] or rows["Characters of a text"] == ["3", "3", "13"]
    assert rows["Photos or clips of a product"] == ["0", "1", "2"]
    assert rows["Width of a stored photo, px"] == ["10", "20", "30"]
    assert rows["Size of a stored photo, kB"] == ["1.0", "2.5", "40.0"]
    none = {row[0]: row[1:] for row in size_rows(tables([("a", 1, "", None)]), Path(tmp_path))}
    assert none["Characters of a text"] == ["–"] * 3


@pytest.mark.parametrize("largest", [1, 29, 30, 31, 3_226, 100_000])
def test_bars_hold_every_text_in_few_round_widths(largest):
    lengths = pl.Series([1, largest // 2 + 1, largest, largest])
    bins = length_bins(lengths)
    assert sum(texts for _, _, texts in bins) == 4 and len(bins) <= BARS
    widths = {high - low for low, high, _ in bins}
    assert len(widths) == 1 and str(widths.pop()).rstrip("0") in {"1", "2", "5"}
    for low, high, texts in bins:
        assert texts == sum(low <= length < high for length in lengths)


def test_no_text_has_no_figure():
    assert text_figures(tables([("a", 1, "", None)])) == {}
    assert "3 texts" in text_figures(tables([(key, 1, "text", None) for key in "abc"]))["text_lengths"]


def test_balance_is_the_total_variation_of_class_shares():
    """Labels x x y y: fold 0 has x x, half of its mass is elsewhere; test has x y, the shares of the catalogue."""
    rows = [(key, 1, "t", label) for key, label in zip("abcdefg", ["x", "x", "y", "y", "x", "y", None], strict=True)]
    assigned = [("a", "train", 0), ("b", "train", 0), ("c", "train", 1), ("d", "train", None), ("e", "test", None),
                ("f", "test", None), ("g", "train", 1)]  # fmt: skip
    shown = {row[0]: row[1:] for row in balance_rows(tables(rows, assigned))}
    assert shown == {
        "Fold 0": ["2", "28.6 %", "2", "1", "100.0 %", "0.500"],
        "Fold 1": ["2", "28.6 %", "1", "1", "100.0 %", "0.500"],
        "In training for every fold": ["1", "14.3 %", "1", "1", "100.0 %", "0.500"],
        "Test": ["2", "28.6 %", "2", "2", "50.0 %", "0.000"],
    }
    without = balance_rows(tables([("a", 1, "t", None)], [("a", "test", None)]))
    assert without == [["Test", "1", "100.0 %", "0", "0", "–", "–"]]


def test_the_page_has_the_data_section(make_run, parse):
    page = parse(make_run().report().page)
    (section,) = (text for attributes, text in page.all("section") if attributes["id"] == "data")
    for words in ("Balance of the folds", "Fold 0", "Length of the texts", "Duplicates, and what test shares"):
        assert words in section
