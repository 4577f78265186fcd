"""Verdicts: of checkpoints, of settings with seeds, of the declared figure alone and of all others together."""

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from compared_runs import make_run

from pipeline_lib.evaluation.summary import PUBLISHED, classification_trees
from pipeline_lib.experiments.compare.comparison import Options, about, compare, find_primary, record
from pipeline_lib.experiments.compare.decisions import COMPARISON_SCHEMA, NO_DIFFERENCE, letter
from pipeline_lib.experiments.compare.explain import sentences
from pipeline_lib.experiments.compare.kinds import kind_of
from pipeline_lib.experiments.compare.settings import Setting
from pipeline_lib.experiments.compare.tables import markdown, tables
from pipeline_lib.metrics.ranking import RANK_FIGURES, rank_figures, ranks_of

COUNT = 200
RNG = np.random.default_rng(0)
BASE = RNG.integers(1, 40, COUNT)
BETTER = np.maximum(1, BASE - RNG.integers(0, 10, COUNT))
NOISE = BASE.copy()
NOISE[:20] = BASE[:20][::-1]


def run_of(ranks, name, seed=7, right=None):
    return make_run(ranks, right, name, seed)


def single(*runs):
    return [Setting(run.name, [run]) for run in runs]


def rows_of(comparison, **where):
    return comparison.rows.filter(**where).to_dicts()


def setting(name, ranks, seeds, deviation, generator):
    """Return a setting whose runs have the same ranks but for the effect of a seed and of chance."""
    runs = []
    for seed in seeds:
        factor = np.exp(deviation * generator.standard_normal() + 0.2 * generator.standard_normal(len(ranks)))
        runs.append(run_of(np.maximum(1, np.rint(ranks * factor)), f"{name}-s{seed}", seed))
    return Setting(name, runs)


def test_a_real_gain_is_found_whether_lower_or_higher_is_better_and_chance_is_not():
    a, b, c = run_of(BASE, "a"), run_of(BETTER, "b"), run_of(NOISE, "c")
    found = compare(single(a, b), Options())
    assert found.rows.schema == pl.Schema(COMPARISON_SCHEMA)
    verdicts = {row["metric"]: row["verdict"] for row in rows_of(found, split="test")}
    assert verdicts.pop("R@1") in ("b is better", NO_DIFFERENCE) and set(verdicts.values()) == {"b is better"}
    assert "b is better" not in set(compare(single(b, a), Options()).rows["verdict"])
    assert set(compare(single(a, c), Options()).rows["verdict"]) == {NO_DIFFERENCE}
    (mean,) = rows_of(found, split="test", metric="mean_rank")
    half = slice(COUNT // 2, None)
    assert mean["difference"] == pytest.approx(mean["b"] - mean["a"]) == pytest.approx((BETTER - BASE)[half].mean())
    assert mean["low"] < mean["difference"] < mean["high"] < 0


def test_values_are_those_of_the_metrics_file():
    right = [number % 3 > 0 for number in range(COUNT)]
    runs = run_of(BASE, "a", right=right), run_of(BETTER, "b", right=right[::-1])
    found = compare(single(*runs), Options())
    for name, run in zip("ab", runs, strict=True):
        expected = classification_trees(run.scores, run.classes)[0]["test"]["classification"]
        values = {row["metric"]: row[name] for row in rows_of(found, split="test", task="classification")}
        assert values == pytest.approx({metric: expected[metric] for metric in PUBLISHED}, abs=1e-6)
        ranked = rank_figures(ranks_of(run.ranks.filter(pl.col("split") == "test")))
        values = {row["metric"]: row[name] for row in rows_of(found, split="test", task="text_to_image")}
        assert values == pytest.approx(ranked) and list(values) == list(RANK_FIGURES)


def test_the_declared_figure_is_tested_alone_and_the_others_are_adjusted_together():
    a, b = run_of(BASE, "a"), run_of(BETTER, "b")
    found = compare(single(a, b), Options())
    (primary,) = rows_of(found, primary=True)
    assert (primary["split"], primary["task"], primary["metric"]) == ("test", "text_to_image", "MeanRecall")
    assert primary["p_adjusted"] == primary["p"]
    others = rows_of(found, primary=False)
    assert all(row["p_adjusted"] >= row["p"] for row in others)
    assert any(row["p_adjusted"] > row["p"] for row in others)
    undeclared = compare(single(a, b), Options(primary="none"))
    assert undeclared.primary is None and rows_of(undeclared, primary=True) == []
    (same,) = rows_of(undeclared, split="test", metric="MeanRecall")
    assert same["p"] == primary["p"] and same["p_adjusted"] >= primary["p"]


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ("R@1", ("test", "text_to_image", "R@1")),
        ("oof.text_to_image.mean_rank", ("oof", "text_to_image", "mean_rank")),
        ("top1", ("test", "classification", "top1")),
        ("classification.ece", ("test", "classification", "ece")),
    ],
)
def test_a_declared_figure_is_found_by_its_name(asked, key):
    run = make_run([1, 2] * 4, [1] * 8)
    parts = [part for split, task in (
        ("test", "text_to_image"), ("test", "classification"), ("oof", "text_to_image"))
        for part in kind_of(task).parts(split, task, [[run], [run]]).parts]  # fmt: skip
    assert find_primary(parts, asked) == key
    with pytest.raises(ValueError, match=r"--primary R@7: no such figure; write METRIC.*test\.text_to_image.*R@1"):
        find_primary(parts, "R@7")


def test_several_runs_are_compared_with_the_first_under_one_adjustment():
    runs = [run_of(ranks, name) for ranks, name in ((BASE, "one"), (BETTER, "two"), (NOISE, "three"))]
    found = compare(single(*runs), Options())
    assert set(found.rows["run"]) == {"b", "c"}
    primaries = rows_of(found, primary=True)
    assert [row["verdict"] for row in primaries] == ["b is better", NO_DIFFERENCE]
    assert primaries[0]["p_adjusted"] >= primaries[0]["p"]
    assert "adjusted for its 2 comparisons alone" in " ".join(sentences(found))


def test_a_difference_as_large_as_the_smallest_that_is_found_is_found_in_about_80_percent_of_test_sets():
    generator = np.random.default_rng(5)

    def draw(gain):
        differ, better = generator.random(COUNT) < 0.3, generator.random(COUNT) < 0.5 + gain / 0.6
        a = np.where(differ & better, 20, 1)
        b = np.where(differ & ~better, 20, 1)
        return compare(single(run_of(a, "a"), run_of(b, "b")), Options("R@1", swaps=300, changed=0))

    (first,) = rows_of(draw(0.0), primary=True)
    found = [rows_of(draw(first["smallest"]), primary=True)[0]["verdict"] for _ in range(25)]
    assert 0.56 <= found.count("b is better") / 25 < 1  # 3 standard errors are 24 points


def test_few_groups_can_show_nothing_and_identical_runs_are_called_alike():
    a = make_run([1, 1, 9, 9] * 2, name="a")
    few = compare(single(a, replace(make_run([9, 9, 1, 1] * 2, name="b"))), Options())
    assert set(few.rows["smallest"]) == {None} and "too few groups of queries differ" in " ".join(sentences(few))
    alike = compare(single(a, replace(a, name="b")), Options())
    text = " ".join(sentences(alike))
    assert set(alike.rows["p"]) == {1.0} and "the runs are alike" in text and alike.changed == []


def test_settings_need_seeds_and_checkpoints_do_not_and_the_output_says_which():
    generator = np.random.default_rng(1)
    one = compare(single(run_of(BASE, "a"), run_of(BETTER, "b")), Options())
    assert about(one) == "checkpoints" and "about these checkpoints" in sentences(one)[0]
    assert set(one.rows["a_deviation"]) == {None} and "randomisation test" in one.decisions.test
    settings = [setting("x", BASE, (7, 8, 9), 0.05, generator), setting("y", BETTER, (7, 8, 9), 0.05, generator)]
    several = compare(settings, Options())
    assert about(several) == "settings" and "same numbers and paired" in sentences(several)[0]
    assert "Student's t" in several.decisions.test and several.rows["b_deviation"].null_count() == 0
    mixed = compare([*settings, Setting("z", [run_of(NOISE, "z")])], Options())
    assert about(mixed) == "settings and checkpoints" and "the checkpoint c" in sentences(mixed)[0]
    runs = record(several)["runs"]
    assert runs["b"] == {"name": "y", "runs": ["y-s7", "y-s8", "y-s9"], "seeds": [7, 8, 9]}


def test_a_gain_smaller_than_the_spread_of_seeds_is_one_of_checkpoints_and_not_of_settings():
    generator = np.random.default_rng(2)
    x, y = (setting(name, BASE, (7, 8, 9), 0.6, generator) for name in "xy")
    best = max(y.runs, key=lambda run: -run.ranks["rank"].mean())
    worst = max(x.runs, key=lambda run: run.ranks["rank"].mean())
    (checkpoint,) = rows_of(compare(single(worst, best), Options()), primary=True)
    (between,) = rows_of(compare([x, y], Options()), primary=True)
    assert checkpoint["verdict"] == "b is better" and between["verdict"] == NO_DIFFERENCE
    assert between["high"] - between["low"] > 2 * (checkpoint["high"] - checkpoint["low"])


def test_intervals_of_few_seeds_or_groups_end_at_the_largest_difference_and_a_line_says_so():
    good, bad = (run_of(np.full(COUNT, rank), name, seed) for rank, name, seed in ((1, "g", 7), (90, "b", 8)))
    mixed = run_of(np.where(np.arange(COUNT) % 3, 1, 90), "m", 9)
    x, y = Setting("x", [good, bad]), Setting("y", [replace(good, name="h"), mixed])
    found = compare([x, y], Options())
    shares = found.rows.filter(~pl.col("metric").str.ends_with("_rank"))
    ranks = found.rows.filter(pl.col("metric").str.ends_with("_rank"))
    assert (shares["low"].min(), shares["high"].max()) == (-1, 1) and ranks.height
    assert (ranks["low"].min(), ranks["high"].max()) == (-99, 99)
    assert found.slices["low"].min() == -1 and found.slices["high"].max() == 1
    assert shares["smallest"].max() is None and ranks["smallest"].max() is None
    text = " ".join(sentences(found))
    assert "intervals are cut at the largest difference that the figure can have: so few seeds" in text
    assert "with so few seeds no difference is found in 80 % of cases" in text
    assert "cut at" not in " ".join(sentences(compare(single(run_of(BASE, "a"), run_of(BETTER, "b")), Options())))


def test_runs_of_a_setting_are_paired_by_their_seeds_in_whatever_order_they_are_listed():
    generator = np.random.default_rng(3)
    x, y = (setting(name, ranks, (7, 8, 9), 0.3, generator) for name, ranks in (("x", BASE), ("y", BETTER)))
    permuted = Setting("y", [y.runs[place] for place in (2, 0, 1)])
    expected, found = compare([x, y], Options()), compare([x, permuted], Options())
    assert found.rows.equals(expected.rows) and found.slices.equals(expected.slices)
    assert found.changed == expected.changed
    assert record(found)["runs"]["b"]["runs"] == ["y-s7", "y-s8", "y-s9"]
    # A seed of a composed model is one of the setting's, too: the same train.seed alone makes no pair.
    other = [replace(run, params=dict(run.params) | {"composed": {"seed": 3}}) for run in y.runs]
    assert compare([x, Setting("y", other)], Options()).rows["high"].to_list() != expected.rows["high"].to_list()


def test_markdown_escapes_what_a_catalogue_may_contain():
    runs = [make_run([1, 5, 9, 2, 3, 3, 1, 8], name="first|run"), make_run([1, 5, 9, 2, 9, 3, 30, 1], name="*b*")]
    text = markdown(compare(single(*runs), Options()))
    assert r"first\|run" in text and r"\*b\*" in text and r"lamp \<b\>" in text
    tables_of_text = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables_of_text} <= {6, 7, 8, 9}


def test_tables_name_the_run_that_is_compared():
    found = compare(single(run_of(BASE, "a"), run_of(BETTER, "b"), run_of(NOISE, "c")), Options())
    titles = [table.title for table in tables(found)]
    assert titles[:2] == ["test text > image, b against a", "oof text > image, b against a"]
    assert "test text > image, c against a" in titles
    assert [letter(number) for number in range(3)] == ["a", "b", "c"]
