"""The rows of the headline hold what metrics.json holds, and text keeps the digits that count."""

import pytest

from pipeline_lib.report.headline import percent, rank, retrieval_rows, slice_rows, total_rows

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
