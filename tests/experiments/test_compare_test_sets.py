"""Test sets of two runs: equal ones are compared, others are refused with exactly what differs."""

from dataclasses import replace

import polars as pl
import pytest
from compared_runs import changed, make_run

from pipeline_lib.experiments.compare.comparison import Options, compare
from pipeline_lib.experiments.compare.explain import sentences
from pipeline_lib.experiments.compare.kinds import overlap, tasks_of
from pipeline_lib.experiments.compare.settings import Setting

RIGHT = [1, 0, 1, 1, 0, 1, 1, 1]
A = make_run([1, 5, 9, 2, 3, 3, 1, 8], RIGHT, name="first")
NAMES = ("first", "other")


def of(run, b=A, only=()):
    return overlap(b, replace(run, name="other"), NAMES, list(only))


def refusal(run):
    with pytest.raises(ValueError) as refused:
        compare([Setting("first", [A]), Setting("other", [replace(run, name="other")])], Options())
    return str(refused.value)


def test_equal_test_sets_are_compared_in_every_part_whatever_the_order_of_the_rows():
    found = of(replace(A, ranks=A.ranks.reverse(), scores=A.scores.reverse()))
    assert (found.left_out, found.refused) == ([], [])
    assert set(found.same) == {
        (split, task) for split in ("oof", "test") for task in ("text_to_image", "classification")
    }


@pytest.mark.parametrize(
    ("table", "columns", "line"),
    [
        ("queries", {"text": pl.Series(["new"] * 8)}, "test: the text of 4 queries differs (q4, q5, q6, ...)"),
        ("media", {"content": pl.Series([["x"]] * 8)}, "test: the photos of 4 products differ (p4, p5, p6, ...)"),
        (
            "relevance",
            {"product_id": pl.Series(["p0", "p1", "p2", "p3", "p4", "p5", "p6", "p6"])},
            "test: right answers: 1 only in first (q7), 1 only in other (q7)",
        ),
        (
            "folds",
            {"split": pl.Series(["train"] * 4 + ["test"] * 3 + ["train"])},
            "test: products of the gallery: 1 only in first (p7), 0 only in other",
        ),
    ],
)
def test_what_the_catalogue_measures_otherwise_is_refused_with_examples(table, columns, line):
    message = refusal(changed(A, table, **columns))
    assert message.startswith("first and other were measured on different test sets: ") and line in message
    assert "--only classification" in message


def test_other_queries_sizes_of_the_gallery_numbers_of_right_answers_and_groups_are_refused():
    assert "test, text_to_image: queries: 1 only in first (q7), 0 only in other" in refusal(
        replace(A, ranks=A.ranks.head(7))
    )
    for column, meaning in (("num_gallery", "size of the gallery"), ("num_right", "number of right answers")):
        message = refusal(replace(A, ranks=A.ranks.with_columns(pl.lit(7).alias(column))))
        assert f"test, text_to_image: the {meaning} of 4 queries differs (q4: " in message
        assert f"oof, text_to_image: the {meaning} of 4 queries differs (q0: " in message
    groups = replace(A, ranks=A.ranks.with_columns(group_id=pl.lit("one")))
    assert "the group of 4 queries differs (q4: g4 in first, one in other)" in refusal(groups)


def test_corrected_labels_are_other_right_answers():
    relabelled = A.scores.with_columns(
        label=pl.when(pl.col("product_id") == "p7").then(pl.lit("cup")).otherwise("label")
    )
    message = refusal(replace(A, scores=relabelled))
    assert "test, classification: products with label and group: 1 only in first (p7), 1 only in other (p7)" in message
    assert "--only text_to_image" in message


def test_other_folds_leave_out_of_fold_figures_out_and_nothing_else():
    moved = changed(A, "folds", fold=pl.Series([0, 0, 1, 1, None, None, None, None]))
    moved = replace(moved, ranks=A.ranks.filter((pl.col("split") == "test") | (pl.col("query_id") != "q1")))
    found = of(moved)
    line = "oof is left out: other folds: 2 products are in another fold, 0 in one run only"
    assert found.left_out == [f"text_to_image, {line}", f"classification, {line}"] and found.refused == []
    assert {split for split, _ in found.same} == {"test"}
    fewer = replace(
        A, params=dict(A.params) | {"plan": {"folds": [0]}}, ranks=A.ranks.filter(pl.col("query_id") != "q1")
    )
    assert of(fewer).left_out[0] == "text_to_image, oof is left out: plan.folds is 0, 1 in first and 0 in other"


def test_what_only_one_run_has_is_left_out_with_a_line():
    assert of(make_run([1] * 8)).left_out == ["classification is left out: only first has it"]
    classes = of(replace(A, classes=["cup", "hat", "mug"])).left_out
    assert classes == ["classification is left out: the runs predict other classes, 1 only in other ('mug')"]
    composed = make_run([1] * 8, direction="composed_sum").ranks
    assert of(replace(A, ranks=pl.concat([A.ranks, composed]))).left_out == [
        "composed_sum is left out: only other has it"
    ]
    assert of(replace(A, classes=["hat", "cup"])).left_out == []  # another order of the same classes


def unlearned(run, *ids):
    """Return a run whose models did not learn the class of some products."""
    rest = ~pl.col("product_id").is_in(ids)
    nulls = [pl.when(rest).then(pl.col(name)).alias(name) for name in ("label_probability", "label_rank")]
    return replace(run, scores=run.scores.with_columns(nulls))


def test_products_whose_class_only_some_runs_learned_are_left_out_and_counted():
    """All cups are in fold 0. A run of that fold alone counts no cup of test: p5 and p7 are hats."""
    other = unlearned(make_run([1] * 8, [1, 0, 1, 1, 1, 0, 1, 1], name="other"), "p4", "p6")
    other = replace(other, params=dict(other.params) | {"plan": {"folds": [0], "composed": []}})
    third = make_run([1] * 8, [1, 0, 1, 1, 0, 1, 0, 0], name="third")
    found = compare([Setting(run.name, [run]) for run in (A, other, third)], Options(only=["classification"]))
    # Of (p5, p7), a predicts (hat, hat), b (cup, hat) and c (hat, cup). All probabilities are 0.8 and 0.2.
    figures = {(row["run"], row["metric"]): (row["a"], row["b"]) for row in found.rows.to_dicts()}
    for name in "bc":
        assert figures[name, "top1"] == figures[name, "balanced_accuracy"] == (1, 0.5)
        assert figures[name, "top3"] == (1, 1)
        assert figures[name, "macro_f1"] == (1, pytest.approx(2 / 3))
        assert figures[name, "ece"] == pytest.approx((0.2, 0.3))
    assert {row["split"] for row in found.rows.to_dicts()} == {"test"}
    assert found.counts.filter(metric="top1").select("run", "wins", "losses", "ties").rows() == [
        ("b", 0, 1, 1), ("c", 0, 1, 1)
    ]  # fmt: skip
    assert found.left_out[-1] == (
        "classification, test leaves out 2 of 4 products: they count in some of the runs only, as no model of the "
        "others was trained on their class (p4, p6)"
    )
    assert found.left_out[-1] in sentences(found)


def test_a_split_without_a_product_that_counts_in_all_runs_is_left_out():
    """Runs of older versions count products whose class no model learned."""
    newer = replace(unlearned(A, "p0", "p1", "p2", "p3"), name="newer")
    found = compare([Setting(run.name, [run]) for run in (A, newer)], Options(only=["classification"]))
    assert {row["split"] for row in found.rows.to_dicts()} == {"test"}
    assert found.left_out == [
        "classification, oof is left out: 4 products count in some of the runs only, as no model of the others was "
        "trained on their class (p0, p1, p2, ...)"
    ]


def test_corrections_of_hubness_are_no_tasks_of_their_own():
    corrected = [make_run([1] * 8, direction=f"{name}_{kind}").ranks for name, kind in (
        ("text_to_image", "qb_norm"), ("image_to_text", "dual_softmax"))]  # fmt: skip
    composed = make_run([2] * 8, direction="composed_sum_subset").ranks
    run = replace(A, ranks=pl.concat([A.ranks, *corrected, composed]))
    assert tasks_of(run) == ["text_to_image", "classification", "composed_sum_subset"]
    only = ["text_to_image_qb_norm"]
    with pytest.raises(ValueError, match="--only text_to_image_qb_norm: no such task"):
        compare([Setting("first", [run]), Setting("b", [replace(run, name="b")])], Options(only=only))


def test_queries_among_their_hard_negatives_are_a_task_whose_products_are_those_of_the_gallery():
    worse, better = (make_run(ranks, direction="text_to_image_subset") for ranks in ([2] * 8, [1] * 8))
    runs = [replace(A, name=name, ranks=pl.concat([A.ranks, own.ranks])) for name, own in (("a", worse), ("b", better))]
    assert tasks_of(runs[0]) == ["text_to_image", "text_to_image_subset", "classification"]
    found = compare([Setting(run.name, [run]) for run in runs], Options(only=["text_to_image_subset"]))
    recall = found.rows.filter(pl.col("metric") == "R@1")
    assert recall.select("split", "task", "a", "b").rows() == [
        (split, "text_to_image_subset", 0.0, 1.0) for split in ("test", "oof")
    ]


def test_a_task_can_be_compared_by_itself_where_the_others_differ():
    found = of(changed(A, "queries", text=pl.Series(["new"] * 8)), only=["classification"])
    assert found.refused == [] and {task for _, task in found.same} == {"classification"}


def test_a_task_that_no_run_has_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match="--only clasification: no such task .* have text_to_image, classification"):
        compare([Setting("first", [A]), Setting("b", [replace(A, name="b")])], Options(only=["clasification"]))


def test_runs_with_nothing_in_common_or_compared_with_themselves_are_refused():
    with pytest.raises(ValueError, match="nothing to compare: text_to_image is left out: only first has it"):
        compare(
            [Setting("first", [replace(A, scores=A.scores.clear(), classes=[], name="first")]),
             Setting("b", [replace(A, ranks=A.ranks.clear(), name="b")])],
            Options(),
        )  # fmt: skip
    with pytest.raises(ValueError, match="1 runs or settings: 2 to 26"):
        compare([Setting("first", [A])], Options())
    other = replace(A, name="other", params=dict(A.params) | {"train": {"seed": 8}})
    for repeated in ([A], [other, A]):
        with pytest.raises(ValueError, match="first is named twice: a run cannot be compared with itself"):
            compare([Setting("first", [A]), Setting("b", repeated)], Options())
