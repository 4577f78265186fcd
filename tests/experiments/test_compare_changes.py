"""Wins, losses and ties, slices, and the queries that changed most, of runs that can be counted by hand."""

from dataclasses import replace

import polars as pl
import pytest
from compared_runs import changed, make_run

from pipeline_lib.experiments.compare.changes import counts, most_changed
from pipeline_lib.experiments.compare.decisions import Settings
from pipeline_lib.experiments.compare.kinds import kind_of
from pipeline_lib.experiments.compare.settings import Setting
from pipeline_lib.experiments.compare.slices import dimensions, slice_rows

A = make_run([1, 1, 1, 1, 1, 5, 9, 2], [1] * 8, name="a")
B = make_run([1, 1, 1, 1, 3, 5, 1, 1], [1, 1, 1, 1, 0, 1, 1, 1], name="b")


HOW = Settings(None, swaps=999)


def part_of(task, *runs, split="test"):
    (part,) = kind_of(task).parts(split, task, [[run] for run in runs]).parts
    return part


def test_wins_losses_and_ties_by_hand():
    part = part_of("text_to_image", A, B)  # 1 > 3, 5 > 5, 9 > 1, 2 > 1
    by_recall = counts(part, "MeanRecall").row(0)
    assert by_recall == ("test", "text_to_image", "MeanRecall", "b", 2, 1, 1)
    assert counts(part, "R@10").row(0)[4:] == (0, 0, 4)
    assert counts(part, "median_rank").row(0)[2:] == ("mean_rank", "b", 2, 1, 1)
    assert counts(part_of("classification", A, B), "macro_f1").row(0)[2:] == ("top1", "b", 0, 1, 3)


def test_queries_that_changed_most_by_the_ratio_of_their_ranks():
    part, settings = part_of("text_to_image", A, B), [Setting("a", [A]), Setting("b", [B])]
    found = most_changed(part, settings, 5)
    assert [(one.unit_id, one.better, one.before.rank, one.after.rank) for one in found] == [
        ("q6", True, pytest.approx(9), pytest.approx(1)),
        ("q7", True, pytest.approx(2), pytest.approx(1)),
        ("q4", False, pytest.approx(1), pytest.approx(3)),
    ]
    assert found[0].right == ["p6"] and found[0].after.products == ["p6", "p7", "p0"] and found[0].text == "lamp <b>"
    assert [one.unit_id for one in most_changed(part, settings, 1)] == ["q6", "q4"]
    assert most_changed(part, settings, 0) == []


def test_products_whose_class_changed():
    part, settings = part_of("classification", A, B), [Setting("a", [A]), Setting("b", [B])]
    (one,) = most_changed(part, settings, 5)
    assert (one.unit_id, one.before.predicted, one.after.predicted, one.better) == ("p4", "cup", "hat", False)


def test_slices_by_category_words_script_and_name():
    run = changed(A, "query_slices")
    named = pl.DataFrame({"query_id": ["q4", "q7", "q0"], "slice": ["short", "short", "short"]})
    run = make_run([1] * 8, query_slices=named)
    found = dimensions(part_of("text_to_image", run, run), run)
    assert found == {
        ("category", "cup"): [0, 2],
        ("category", "hat"): [1, 3],
        ("words", "1 to 3"): [0, 1, 2],
        ("words", "7 to 10"): [3],
        ("named slice", "short"): [0, 3],
    }
    trained = dimensions(part_of("text_to_image", run, run, split="oof"), run)
    assert trained["script", "Han"] and trained["script", "Arabic"] and trained["script", "Latin"]
    # The rows of a part are in the order of folds and ids.
    assert part_of("text_to_image", run, run, split="oof").units["unit_id"].to_list() == ["q0", "q2", "q1", "q3"]


def test_a_query_of_two_galleries_counts_in_its_named_slice_in_both():
    named = pl.DataFrame({"query_id": ["q1", "q0"], "slice": ["short", "short"]})
    run = make_run([1] * 8, query_slices=named)
    twice = run.ranks.filter(pl.col("query_id") == "q0").with_columns(fold=pl.lit(1, pl.Int64))
    run = replace(run, ranks=pl.concat([run.ranks, twice]))
    part = part_of("text_to_image", run, run, split="oof")
    assert part.units.select("unit_id", "fold").rows() == [("q0", 0), ("q2", 0), ("q0", 1), ("q1", 1), ("q3", 1)]
    assert dimensions(part, run)["named slice", "short"] == [0, 2, 3]


def test_named_slices_are_of_queries_and_not_of_products_with_their_ids():
    named = pl.DataFrame({"query_id": ["p4"], "slice": ["short"]})
    run = make_run([1] * 8, [1] * 8, query_slices=named)
    assert ("named slice", "short") not in dimensions(part_of("classification", run, run), run)


def test_slices_have_the_means_of_their_queries_and_small_ones_are_counted():
    count = 60
    before = make_run([5] * count, name="a")
    after = make_run([1 if number % 2 else 5 for number in range(count)], name="b")
    table, left_out = slice_rows(part_of("text_to_image", before, after), "R@1", before, [False, False], HOW)
    rows = {(row["dimension"], row["slice"]): row for row in table.to_dicts()}
    hats, cups = rows["category", "hat"], rows["category", "cup"]
    # Each of 15 queries is better, so nothing varies: Student's t has no error to divide by, swaps have.
    assert (hats["units"], hats["a"], hats["b"], hats["verdict"]) == (15, 0, 1, "b is better")
    assert (hats["low"], hats["high"]) == (1, 1) and hats["p_adjusted"] <= 0.01
    assert (cups["b"], cups["difference"], cups["p_adjusted"]) == (0, 0, 1)
    assert left_out == sum(
        len(rows) < 10 for rows in dimensions(part_of("text_to_image", before, after), before).values()
    )


def test_a_slice_counts_a_group_as_one():
    count = 80
    before = make_run([5] * count, name="a")
    after = make_run([1 if number % 3 else 9 for number in range(count)], name="b")
    groups = pl.Series([f"g{number // 8}" for number in range(count)])
    together = [replace(run, ranks=run.ranks.with_columns(group_id=groups)) for run in (before, after)]
    spans = []
    for pair in ((before, after), together):
        row = slice_rows(part_of("text_to_image", *pair), "mean_rank", before, [False, False], HOW)[0].row(
            0, named=True
        )
        spans.append(row["high"] - row["low"])
    assert spans[1] != pytest.approx(spans[0])


def test_slices_of_settings_carry_the_spread_of_seeds():
    """Two settings of two seeds each, b's 9 apart: +1 rank in every query is a gain of checkpoints alone."""
    ranks = [10 + number % 3 for number in range(60)]
    moved = {"a1": 0, "a2": 9, "b1": 1, "b2": 10}
    runs = [make_run([rank + more for rank in ranks], name=name, seed=int(name[1])) for name, more in moved.items()]
    make = kind_of("text_to_image").parts
    (alone,) = make("test", "text_to_image", [[runs[0]], [runs[2]]]).parts
    (seeds,) = make("test", "text_to_image", [runs[:2], runs[2:]]).parts
    one, unpaired, paired = (
        slice_rows(part, "mean_rank", runs[0], [False, same], HOW)[0]
        for part, same in ((alone, False), (seeds, False), (seeds, True))
    )
    assert set(one["verdict"]) == set(paired["verdict"]) == {"a is better"}
    assert set(unpaired["verdict"]) == {"no significant difference"} and (unpaired["low"] < -5).all()
    assert set(unpaired["difference"].round(6)) == {1.0}
