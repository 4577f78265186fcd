"""The rows of the headline hold what metrics.json holds, and text keeps the digits that count."""

from types import SimpleNamespace

import pytest

from pipeline_lib.report.headline import percent, rank, retrieval_rows, slice_rows, total_rows
from pipeline_lib.report.overview import headlines

LEAF = {"R@1": 0.4721, "R@5": 0.8, "R@10": 0.91, "MeanRecall": 0.727, "median_rank": 2.0, "mean_rank": 5.31}
LEAF |= {"num_queries": 1234, "num_gallery": 500}
METRICS = {"test": {"retrieval": {"text_to_image": LEAF, "total_mR": 0.32105}}}
INTERVALS = {"test": {"retrieval": {"text_to_image": {"R@1": [0.4512, 0.4936]}, "total_mR": [0.31, 0.33]}}}


def test_rows_hold_the_exact_values():
    (row,) = retrieval_rows(METRICS, INTERVALS)
    assert {figure.key: figure.value for figure in row.figures} == LEAF
    assert [figure.interval for figure in row.figures][:2] == [(0.4512, 0.4936), None]
    assert (row.split, row.task) == ("test", "text_to_image")


def test_totals_are_rows_of_both_directions():
    (row,) = total_rows(METRICS, INTERVALS)
    (total,) = row.figures
    assert (row.task, total.key, total.value, total.interval_text) == (
        "both_directions", "total_mR", 0.32105, "31.00–33.00",
    )  # fmt: skip


@pytest.mark.parametrize(("value", "text"), [(0, "0.0 %"), (1, "100.0 %"), (0.0005, "0.05 %"), (0.00123, "0.1 %")])
def test_small_shares_keep_a_digit(value, text):
    assert percent(value) == text


@pytest.mark.parametrize(("value", "text"), [(1.0, "1"), (9.96, "10.0"), (12.4, "12"), (14903.0, "14,903")])
def test_large_ranks_have_no_decimals(value, text):
    assert rank(value) == text


def test_slices_are_rows_of_their_own_with_chance():
    leaf = {
        "R@1": 0.25,
        "R@5": 0.5,
        "R@10": 1.0,
        "num_queries": 12,
        "num_gallery": 10,
        "chance": {"R@1": 0.1, "R@10": 1.0},
    }
    metrics = {"test": {"retrieval": {"text_to_image": LEAF | {"slices": {"time": leaf}, "slices_left_out": 1}}}}
    spans = {"test": {"retrieval": {"text_to_image": {"slices": {"time": {"R@1": [0.1, 0.4]}}}}}}
    (row,) = slice_rows(metrics, spans)
    assert (row.split, row.task, row.title) == ("test", "slice_time", "Test, time")
    assert [(one.key, one.text, one.interval, one.chance) for one in row.figures][:3] == [
        ("R@1", "25.0 %", (0.1, 0.4), 0.1), ("R@5", "50.0 %", None, None), ("R@10", "no figure", None, 1.0),
    ]  # fmt: skip
    assert slice_rows(METRICS, INTERVALS) == []
    assert [one.task for one in retrieval_rows(metrics, spans)] == ["text_to_image"]


def test_a_figure_of_subsets_is_a_column_with_its_chance_only_where_a_row_has_it():
    subset = {"R_subset@1": 0.75, "num_subset_queries": 40, "chance": {"R_subset@1": 0.5}}
    intervals = {"test": {"retrieval": {"text_to_image": {"R_subset@1": [0.6, 0.9]}}}}
    for more, has_column in (({}, False), (subset, True)):
        leaves = {"text_to_image": LEAF | more, "image_to_text": LEAF}
        inputs = SimpleNamespace(
            metrics={"test": {"retrieval": leaves}}, intervals=intervals, ensemble=SimpleNamespace(num_classes=0)
        )
        (table,) = headlines(inputs, {})
        assert ("R_subset@1" in table.columns) is has_column
        (_, first, chance), (_, second, _) = table.rows
        assert "R_subset@1" not in second and set(first) <= set(table.columns)
        if has_column:
            assert (first["R_subset@1"].text, first["R_subset@1"].interval_text) == ("75.0 %", "60.0–90.0")
            assert chance == {"R_subset@1": "50.0 %"}
