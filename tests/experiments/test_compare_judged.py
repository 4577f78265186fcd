"""Judged queries of two runs: figures by hand, paired tests by a slow loop, and what is left out with a line."""

from dataclasses import replace
from itertools import product

import numpy as np
import polars as pl
import pytest
from compared_runs import changed, judged_file, judged_rows, make_run, reader, table_bytes, with_judged

from pipeline_lib.evaluation.judged import judged_figures
from pipeline_lib.experiments.compare.comparison import Options, compare, record
from pipeline_lib.experiments.compare.decisions import NO_DIFFERENCE
from pipeline_lib.experiments.compare.explain import sentences
from pipeline_lib.experiments.compare.kinds import tasks_of
from pipeline_lib.experiments.compare.settings import Setting
from pipeline_lib.experiments.compare.tables import markdown, tables

PLAIN = make_run([1, 5, 9, 2, 3, 3, 1, 8], [1] * 8, name="a")
ONLY = Options(only=["judged_0"])
# Four queries of products with (score, grade). `hat` has no wrong product.
BEFORE = {
    "mug": {"p0": (3, 0), "p1": (2, 1)},
    "红色马克杯": {"p2": (3, 1), "p3": (2, 0)},
    "lamp <b>": {"p4": (1, 0), "p5": (1, 1)},
    "hat": {"p6": (1, 1), "p7": (0, 1)},
}
AFTER = BEFORE | {
    "mug": {"p0": (2, 0), "p1": (3, 1)},
    "lamp <b>": {"p4": (0, 0), "p5": (1, 1)},
    "hat": {"p6": (0, 1), "p7": (1, 1)},
}
SECOND = 1 / np.log2(3)  # nDCG of one right product at place 2 of 2
TIED = (1 + SECOND) / 2


def run_of(queries, name="a", seed=7, run=PLAIN):
    params = dict(run.params) | {"train": {"seed": seed}}
    return with_judged(replace(run, name=name, params=params), queries)


def single(*runs):
    return [Setting(run.name, [run]) for run in runs]


def rows_of(comparison, **where):
    return comparison.rows.filter(**where).to_dicts()


def values(comparison):
    return {row["metric"]: (row["a"], row["b"]) for row in rows_of(comparison, task="judged_0")}


def many(count, shift=0.0, seed=0):
    """Return `count` queries of four products; every third one has no wrong product. A shift prefers right ones."""
    rng = np.random.default_rng(3)  # grades
    noise = np.random.default_rng(seed)
    queries = {}
    for number in range(count):
        grades = [1, 1, 1, 1] if number % 3 == 0 else rng.permutation([1, 1, 0, 0])
        queries[f"query {number}"] = {
            f"p{place}": (float(noise.standard_normal() + shift * grade), int(grade))
            for place, grade in enumerate(grades)
        }
    return queries


def test_figures_of_hand_made_runs():
    found = compare(single(run_of(BEFORE), run_of(AFTER, "b")), ONLY)
    assert values(found) == {
        "preference": (pytest.approx((0 + 1 + 0.5) / 3), 1),
        "nDCG@10": (pytest.approx((SECOND + 1 + TIED + 1) / 4), 1),
    }
    assert {(row["split"], row["task"]) for row in rows_of(found)} == {("all", "judged_0")}
    assert found.left_out == []
    counted = found.counts.select("metric", "wins", "losses", "ties").rows()
    assert counted == [("preference", 2, 0, 1), ("nDCG@10", 2, 0, 2)]
    # No other figure is there, so that preference is declared.
    assert found.primary == ("all", "judged_0", "preference")
    # Two queries that differ have four ways to be swapped, two of them as far apart as these.
    assert [row["p"] for row in rows_of(found)] == [0.5, 0.5]
    assert "is tested alone; the other p value is not adjusted." in sentences(found)[1]


def test_values_are_those_of_the_metrics_file_if_all_queries_are_common():
    first, second = many(50), many(50, 0.5, seed=1)
    found = compare(single(run_of(first), run_of(second, "b")), ONLY)
    for side, queries in (("a", first), ("b", second)):
        figures, _ = judged_figures(judged_rows(queries))
        expected = {name: figures[name] for name in ("nDCG@10", "preference")}
        assert {row["metric"]: row[side] for row in rows_of(found)} == pytest.approx(expected, abs=1e-6)
    assert found.counts.select(pl.sum_horizontal("wins", "losses", "ties")).to_series().to_list() == [33, 50]


def test_the_paired_test_counts_the_queries_that_have_a_preference():
    """By a slow loop over all swaps of the queries: a query without a wrong product moves neither mean."""
    first, second = many(12), many(12, 2.0, seed=1)
    found = compare(single(run_of(first), run_of(second, "b")), Options(only=["judged_0"], primary="none"))
    for metric, column in (("preference", "preference"), ("nDCG@10", "ndcg")):
        sides = [judged_rows(queries)[column].drop_nulls().to_list() for queries in (first, second)]
        gains = [after - before for before, after in zip(*sides, strict=True)]
        assert len(gains) == (8 if metric == "preference" else 12)
        moving = [gain for gain in gains if gain]
        swapped = [abs(np.dot(signs, moving)) for signs in product((1, -1), repeat=len(moving))]
        (row,) = rows_of(found, metric=metric)
        assert row["difference"] == pytest.approx(np.mean(gains))
        assert row["p"] == pytest.approx(np.mean(np.array(swapped) >= abs(sum(moving)) - 1e-9))
        # The interval ends where the same test of shifted gains no longer rejects.
        for end in (row["low"], row["high"]):
            for shift, rejected in ((end + 1e-6 * np.sign(end - np.mean(gains)), True), (end, False)):
                signs = np.array(list(product((1, -1), repeat=len(gains))))
                totals = np.abs(signs @ (np.array(gains) - shift))
                share = np.mean(totals >= totals[0] - 1e-9)
                assert (share <= 0.05) == rejected or abs(share - 0.05) < 2 / len(signs)


def test_intervals_of_settings_are_of_the_queries_that_have_a_preference():
    """Queries without a wrong product change nothing about preference: neither its interval nor its p value."""
    both = [run_of(many(40, shift, seed), f"run{seed}", seed) for shift, seed in ((0, 1), (0, 2), (2, 3), (2, 4))]
    settings = [Setting("x", both[:2]), Setting("y", both[2:])]

    def with_wrong(run):
        table = run.judged(0).filter(pl.col("num_wrong") > 0)
        return replace(run, read=reader({judged_file(0): table_bytes(table)}))

    fewer = [Setting(one.name, [with_wrong(run) for run in one.runs]) for one in settings]
    rows = [rows_of(compare(one, ONLY), metric="preference")[0] for one in (settings, fewer)]
    assert rows[0] == rows[1] and rows[0]["a_deviation"] > 0 and rows[0]["low"] < rows[0]["difference"]


def test_queries_that_were_judged_otherwise_are_left_out_with_one_line():
    after = AFTER | {
        "mug": AFTER["mug"] | {"p1": (3, 0), "p0": (2, 1)},  # other grades
        "hat": {"p6": (0, 1)},  # a product that the other gallery lacks
        "new": {"p0": (1, 1)},
    }
    found = compare(single(run_of(BEFORE), run_of(after, "b")), ONLY)
    (line,) = found.left_out
    assert line == (
        "judged_0 leaves out 3 of 5 queries: 2 with other thumbs or judged products, 1 in some of the runs "
        "only (hat, mug, new)"
    )
    assert values(found) == {"preference": (0.75, 1), "nDCG@10": (pytest.approx((1 + TIED) / 2), 1)}
    assert record(found)["left_out"] == [line] and line in sentences(found)


def test_queries_of_a_product_with_another_photo_or_text_are_left_out():
    media = changed(PLAIN, "media", content=pl.Series([["x"]] + [[f"hash-p{number}"] for number in range(1, 8)]))
    texts = changed(PLAIN, "products", text=pl.Series(["other", *PLAIN.tables["products"]["text"][1:]]))
    for other in (media, texts):
        found = compare(single(run_of(BEFORE), run_of(AFTER, "b", run=other)), ONLY)
        assert found.left_out == [
            "judged_0 leaves out 1 of 4 queries: 1 with other photos or texts of a judged product (mug)"
        ]


def test_a_query_must_be_judged_alike_in_all_runs():
    third = {"mug": {"p0": (1, 1)}, "hat": BEFORE["hat"]}
    found = compare(single(run_of(BEFORE), run_of(AFTER, "b"), run_of(third, "c")), ONLY)
    assert found.left_out == [
        "judged_0 leaves out 3 of 4 queries: 1 with other thumbs or judged products, 2 in some of the runs "
        "only (lamp <b>, mug, 红色马克杯)"
    ]
    # The one query that is left has no wrong product.
    assert set(found.rows["metric"]) == {"nDCG@10"} and found.primary == ("all", "judged_0", "nDCG@10")
    assert "is adjusted for its 2 comparisons alone." in sentences(found)[1]


def test_without_a_common_query_the_task_is_left_out_and_all_others_are_compared():
    others = {text: {key: (score, 1) for key, (score, _) in own.items()} for text, own in AFTER.items()}
    del others["hat"]
    runs = single(run_of(BEFORE), run_of(others, "b"))
    found = compare(runs, Options())
    (line,) = found.left_out
    assert line.startswith("judged_0 is left out: none of 4 queries was judged alike in all runs: 3 with other thumbs")
    assert found.primary == ("test", "text_to_image", "MeanRecall") and values(found) == {}
    with pytest.raises(ValueError, match="nothing to compare: judged_0 is left out: none of 4 queries"):
        compare(runs, ONLY)
    wrong = {"mug": {"p0": (1, 0)}}
    assert compare(single(run_of(wrong), run_of(wrong, "b")), Options()).left_out == [
        "judged_0 is left out: no query has a right product"
    ]


def test_the_default_figure_is_that_of_retrieval_and_thumbs_refuse_no_comparison():
    after = AFTER | {"mug": {"p0": (1, 1)}}
    found = compare(single(run_of(BEFORE), run_of(after, "b")), Options())
    assert found.primary == ("test", "text_to_image", "MeanRecall")
    assert [row["task"] for row in rows_of(found)][-2:] == ["judged_0", "judged_0"]
    plain = compare(single(PLAIN, replace(PLAIN, name="b")), Options())
    rest = found.rows.filter(pl.col("task") != "judged_0").select("split", "task", "metric", "a", "b")
    assert rest.equals(plain.rows.select(rest.columns))


def test_a_figure_of_judged_queries_can_be_declared():
    runs = single(run_of(BEFORE), run_of(AFTER, "b"))
    for asked in ("judged_0.nDCG@10", "nDCG@10", "all.judged_0.nDCG@10"):
        found = compare(runs, Options(primary=asked))
        assert found.primary == ("all", "judged_0", "nDCG@10")
        (row,) = rows_of(found, primary=True)
        assert row["metric"] == "nDCG@10" and row["p_adjusted"] == row["p"]
    later = run_of(None, "b")
    with pytest.raises(
        ValueError, match=r"--primary judged_0.nDCG@10: no such .*; judged_0 is left out: b has no data"
    ):
        compare(single(run_of(BEFORE), later), Options(primary="judged_0.nDCG@10"))


def test_what_only_one_run_has_and_runs_of_an_older_version_are_left_out_with_the_way_out():
    found = compare(single(run_of(BEFORE), replace(PLAIN, name="b")), Options())
    assert found.left_out == ["judged_0 is left out: only a has it"]
    older = compare(single(run_of(BEFORE), run_of(None, "b")), Options())
    assert older.left_out == [
        "judged_0 is left out: b has no data/work/judged/0/queries.parquet, which older versions of the code did not "
        "write; `dvc repro judged@0` in that run writes it"
    ]
    assert tasks_of(run_of(None)) == ["text_to_image", "classification", "judged_0"]
    # A comparison of another task does not ask for the table.
    assert compare(single(run_of(BEFORE), run_of(None, "b")), Options(only=["classification"])).left_out == []


def test_a_damaged_table_is_one_line_with_its_file():
    run = run_of(BEFORE, "b")
    for content, message in (
        (b"PAR1 cut", r"^data/work/judged/0/queries\.parquet: damaged, or of another version"),
        (table_bytes(run.judged(0).drop("fingerprint")), r"^b: data/work/judged/0/.* lacks fingerprint: another"),
    ):
        broken = replace(run, read=reader({judged_file(0): content}))
        with pytest.raises(ValueError, match=message) as refused:
            compare(single(run_of(BEFORE), broken), ONLY)
        assert "\n" not in str(refused.value)


def test_seeds_of_a_setting_are_averaged_and_a_gain_is_found():
    x = Setting("x", [run_of(many(60, 0.0, seed), f"x{seed}", seed) for seed in (1, 2, 3)])
    y = Setting("y", [run_of(many(60, 3.0, seed + 9), f"y{seed}", seed) for seed in (1, 2, 3)])
    found = compare([x, y], ONLY)
    for row in rows_of(found):
        figures = [
            [judged_figures(run.judged(0))[0][row["metric"]] for run in setting.runs] for setting in (x, y)
        ]  # fmt: skip
        assert (row["a"], row["b"]) == pytest.approx([np.mean(one) for one in figures], abs=1e-6)
        assert row["a_deviation"] == pytest.approx(np.std(figures[0], ddof=1), abs=1e-5)
        assert row["verdict"] == "b is better"
    alike = compare([x, Setting("z", [replace(run, name=f"z{run.name}") for run in x.runs])], ONLY)
    assert {row["verdict"] for row in rows_of(alike)} == {NO_DIFFERENCE}


def test_queries_that_changed_most_show_both_orders_of_the_judged_products():
    found = compare(single(run_of(BEFORE), run_of(AFTER, "b")), ONLY)
    mug, lamp = found.changed
    assert (mug.text, mug.right, mug.better) == ("mug", ["p1"], True)
    assert (mug.before.products, mug.after.products) == (["p0", "p1"], ["p1", "p0"])
    assert (mug.before.value, mug.after.value, lamp.before.value) == (0, 1, 0.5)
    assert record(found)["changed"][0] == {
        "run": "b", "query": "mug", "text": "mug", "better": True, "a_rank": None, "rank": None, "a_value": 0.0,
        "value": 1.0, "right": ["p1"], "a_products": ["p0", "p1"], "products": ["p1", "p0"], "a_predicted": None,
        "predicted": None,
    }  # fmt: skip
    (table,) = [one for one in tables(found) if one.title.endswith("changed most")]
    assert table.title == "judged queries, fold 0: changed most"
    assert table.rows[0] == ("mug", "b", "preference 0.0000", "preference 1.0000", "better")


def test_slices_are_by_words_script_and_right_products_of_the_judged_queries():
    queries = many(40) | {f"马克杯 {number}": {"p0": (1, 1), "p1": (0, 0)} for number in range(12)}
    found = compare(single(run_of(queries), run_of(many(40, 1.0, 5) | queries, "b")), Options("nDCG@10", ["judged_0"]))
    units = {(row["dimension"], row["slice"]): row["units"] for row in found.slices.to_dicts()}
    # Every third of the forty queries has four right products.
    assert units == {
        ("script", "Han"): 12, ("script", "Latin"): 40, ("right answers", "1"): 12, ("right answers", "2 to 5"): 40,
    }  # fmt: skip


def test_a_single_query_shows_no_difference():
    one = {"mug": BEFORE["mug"]}
    found = compare(single(run_of(one), run_of({"mug": AFTER["mug"]}, "b")), ONLY)
    assert {(row["low"], row["high"], row["verdict"]) for row in rows_of(found)} == {(-np.inf, np.inf, NO_DIFFERENCE)}
    assert "too few groups of queries differ" in markdown(found)
