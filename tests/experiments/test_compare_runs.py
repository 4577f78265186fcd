"""Runs read from a real repository and compared so far as they have the same queries and products."""

import json
import shutil

import polars as pl
import pytest
from scored_rows import scored

from pipeline_lib.artifacts.schemas import CLASS_SCORES_SCHEMA, PREDICTIONS_SCHEMA, RANKS_SCHEMA
from pipeline_lib.experiments.compare.runs import FILES, Run, compare_runs, read_run

CLASSES = ["cup", "hat"]


def ranks_of(ranks, split="oof"):
    rows = [
        (split, "text_to_image", f"q{i}", i % 3, float(rank), 100, f"g{i}", 1, 1, 0) for i, rank in enumerate(ranks)
    ]
    return pl.DataFrame(rows, schema=RANKS_SCHEMA, orient="row")


def predictions(right, split="oof"):
    rows = [(f"p{i}", split, i % 3, "cup", "cup" if hit else "hat", [0.8, 0.2] if hit else [0.3, 0.7], f"g{i}")
            for i, hit in enumerate(right)]  # fmt: skip
    return scored(pl.DataFrame(rows, schema=PREDICTIONS_SCHEMA, orient="row"), CLASSES)


NO_RANKS, NO_PREDICTIONS = pl.DataFrame(schema=RANKS_SCHEMA), pl.DataFrame(schema=CLASS_SCORES_SCHEMA)


def write(root, run: Run):
    for file in FILES:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
    run.ranks.write_parquet(root / FILES[0])
    run.scores.write_parquet(root / FILES[1])
    (root / FILES[2]).write_text(json.dumps(run.classes), encoding="utf-8")


@pytest.fixture(scope="module")
def project(three_states):
    """Ranks of 1 in the first commit, of 2 in the experiment `tried`, of 3 in the working tree."""
    outs = sorted({file.parent.as_posix() for file in FILES})
    return three_states(
        f"stages:\n  evaluate:\n    cmd: 'true'\n    outs: {outs}\n",
        lambda root, state: write(root, Run(ranks_of([state + 1] * 2), predictions([1, state]), CLASSES)),
    )


def test_runs_are_read_from_a_revision_an_experiment_and_the_working_tree(project):
    for revision, rank, right in (("first-run", 1, 1), ("tried", 2, 2), ("workspace", 3, 2)):
        run = read_run(revision, project)
        assert run.ranks["rank"].to_list() == [rank, rank] and run.classes == CLASSES
        assert (run.scores["predicted"] == "cup").sum() == right


def test_what_only_one_run_has_is_left_out_with_a_line():
    a = Run(pl.concat([ranks_of([1, 5]), ranks_of([3, 3], "test")]), predictions([1, 0, 1]), CLASSES)
    b = Run(ranks_of([2, 2], "test"), predictions([1, 0]), CLASSES)
    rows, left_out = compare_runs(a, b)
    assert left_out == [
        "oof is left out: 2 queries only in a, 0 only in b",
        "classification, oof is left out: 1 products only in a, 0 only in b",
    ]
    assert rows.select("split", "task").unique().rows() == [("test", "text_to_image")]


def test_runs_of_retrieval_or_classification_alone_are_compared_in_that():
    classifier, ranks = Run(NO_RANKS, predictions([1, 0, 1]), CLASSES), Run(ranks_of([1, 2]), NO_PREDICTIONS, [])
    for run, tasks in ((classifier, {"classification"}), (ranks, {"text_to_image"})):
        rows, left_out = compare_runs(run, run)
        assert set(rows["task"]) == tasks and left_out == []


def test_composed_kinds_are_compared_one_by_one_so_that_a_new_kind_leaves_out_nothing_else():
    def composed(kind, ranks):
        return ranks_of(ranks).with_columns(direction=pl.lit(f"composed_{kind}"))

    a = pl.concat([ranks_of([1, 2, 1]), composed("sum", [5, 1, 2]), composed("combiner", [1, 1, 1])])
    b = pl.concat([ranks_of([2, 2, 1]), composed("sum", [1, 1, 1]), composed("q_former", [1, 1, 1])])
    rows, left_out = compare_runs(Run(a, NO_PREDICTIONS, []), Run(b, NO_PREDICTIONS, []))
    assert left_out == [
        "composed_combiner is left out: only a has it",
        "composed_q_former is left out: only b has it",
    ]
    assert set(rows["task"]) == {"text_to_image", "composed_sum"}
    gain = rows.filter((pl.col("task") == "composed_sum") & (pl.col("metric") == "R@1"))
    assert gain["difference"].to_list() == pytest.approx([2 / 3])
    fewer = Run(pl.concat([b, composed("combiner", [1])]), NO_PREDICTIONS, [])
    rows, left_out = compare_runs(Run(a, NO_PREDICTIONS, []), fewer)
    assert "composed_combiner, oof is left out: 2 queries only in a, 0 only in b" in left_out
    assert "composed_combiner" not in set(rows["task"])


def test_runs_with_nothing_in_common_are_refused():
    classifier = Run(NO_RANKS, predictions([1, 0, 1]), CLASSES)
    with pytest.raises(ValueError, match=r"nothing to compare: oof is left out: 0 queries only in a, 2 only in b"):
        compare_runs(classifier, Run(ranks_of([1, 2]), NO_PREDICTIONS, []))
    with pytest.raises(ValueError, match="a predicts 2 classes, b 3 other ones"):
        compare_runs(classifier, Run(NO_RANKS, predictions([1, 0, 1]), [*CLASSES, "mug"]))
    with pytest.raises(ValueError, match="neither has a rank or a labelled prediction"):
        compare_runs(Run(NO_RANKS, NO_PREDICTIONS, []), Run(NO_RANKS, NO_PREDICTIONS, []))


def test_unknown_revisions_and_missing_files_are_named(project, tmp_path):
    with pytest.raises(ValueError, match=r"exp-nowhere: no such revision or experiment"):
        read_run("exp-nowhere", project)
    with pytest.raises(ValueError, match=r"ranks\.parquet: no such file; run `dvc repro`"):
        read_run("workspace", tmp_path)


def test_a_run_of_another_version_of_the_code_is_refused_by_name(tmp_path):
    write(tmp_path, Run(ranks_of([1]), predictions([1]).drop("group_id"), CLASSES))
    with pytest.raises(ValueError, match=r"workspace: .*class_scores\.parquet lacks group_id: another version"):
        read_run("workspace", tmp_path)


def test_files_that_no_cache_has_are_refused_with_a_way_out(project, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(project, copy)
    shutil.rmtree(copy / ".dvc" / "cache")
    with pytest.raises(ValueError, match=r"first-run: .*ranks\.parquet .* cannot be read .*; run that revision"):
        read_run("first-run", copy)
