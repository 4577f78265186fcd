import io
import shutil
import subprocess

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from pipeline_lib import paths
from pipeline_lib.compare import COMPARISON_SCHEMA, common_splits, compare, compare_revisions, read_ranks
from pipeline_lib.schemas import RANKS_SCHEMA


def ranks_of(ranks, split="oof", direction="text_to_image"):
    rows = [(split, direction, f"q{i}", i % 3, float(rank), 100) for i, rank in enumerate(ranks)]
    return pl.DataFrame(rows, schema=RANKS_SCHEMA, orient="row")


def verdicts(table):
    return dict(table.select("metric", "verdict").rows())


def test_a_real_gain_is_told_from_chance_in_both_senses_of_better():
    rng = np.random.default_rng(0)
    before = rng.integers(1, 40, 600)
    after = np.maximum(1, before - rng.integers(0, 10, 600))
    table = compare(ranks_of(before), ranks_of(after), resamples=500)
    assert table.schema == COMPARISON_SCHEMA
    assert set(verdicts(table).values()) == {"b is better"}
    assert set(verdicts(compare(ranks_of(after), ranks_of(before), resamples=500)).values()) == {"a is better"}
    mean = table.row(by_predicate=pl.col("metric") == "mean_rank", named=True)
    assert mean["difference"] == pytest.approx(mean["b"] - mean["a"]) == pytest.approx((after - before).mean())
    assert mean["low"] < mean["difference"] < mean["high"] < 0


def test_noise_crowns_nobody():
    rng = np.random.default_rng(1)
    ranks = rng.integers(1, 40, 600)
    swapped = ranks.copy()
    swapped[:40] = ranks[:40][::-1]
    table = compare(ranks_of(ranks), ranks_of(swapped), resamples=500)
    assert set(verdicts(table).values()) == {"not told apart"}
    assert set(verdicts(compare(ranks_of(ranks), ranks_of(ranks), resamples=200)).values()) == {"not told apart"}


def test_row_order_does_not_matter_and_splits_stay_apart():
    oof, test = ranks_of([1, 5, 9, 2]), ranks_of([3, 3, 3, 3], split="test").with_columns(fold=pl.lit(None, pl.Int64))
    first = pl.concat([oof, test])
    table = compare(first, first.reverse(), resamples=200)
    assert table["difference"].to_list() == [0] * 12
    assert table["split"].unique(maintain_order=True).to_list() == ["oof", "test"]


def test_other_queries_are_refused_with_their_numbers():
    with pytest.raises(ValueError, match="1 only in a, 0 only in b, of 3 and 2"):
        compare(ranks_of([1, 2, 3]), ranks_of([1, 2]))
    with pytest.raises(ValueError, match="2 only in a, 2 only in b"):
        compare(ranks_of([1, 2]), ranks_of([1, 2], split="test"))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A real repository: ranks of 1 in the first commit, of 2 in the experiment `tried`, of 3 in the working tree."""
    root = tmp_path_factory.mktemp("project")
    file = root / paths.EVALUATION / "ranks.parquet"
    file.parent.mkdir(parents=True)

    def run(*command):
        subprocess.run(command, cwd=root, check=True, capture_output=True)

    run("git", "init", "-q")
    run("git", "config", "user.email", "test@example.org")
    run("git", "config", "user.name", "Test")
    run("dvc", "init", "-q")
    run("dvc", "config", "core.analytics", "false")
    stages = f"stages:\n  evaluate:\n    cmd: 'true'\n    outs: [{paths.EVALUATION.as_posix()}]\n"
    (root / "dvc.yaml").write_text(stages, encoding="utf-8")
    ranks_of([1, 1]).write_parquet(file)
    run("dvc", "commit", "-q", "-f")
    run("git", "add", "-A")
    run("git", "commit", "-qm", "first")
    run("git", "tag", "first-run")
    ranks_of([2, 2]).write_parquet(file)
    run("dvc", "exp", "save", "-q", "--force", "-n", "tried")
    ranks_of([3, 3]).write_parquet(file)
    return root


def test_ranks_are_read_from_a_revision_an_experiment_and_the_working_tree(project):
    assert read_ranks("first-run", project)["rank"].to_list() == [1, 1]
    assert read_ranks("tried", project)["rank"].to_list() == [2, 2]
    assert read_ranks("workspace", project)["rank"].to_list() == [3, 3]


def test_the_printed_table_names_both_runs(project):
    output = io.StringIO()
    Console(file=output, width=140).print(compare_revisions("first-run", "workspace", 200, project))
    lines = output.getvalue().splitlines()
    assert "a = first-run, b = workspace" in lines[0]
    (mean,) = [line for line in lines if "mean_rank" in line]
    assert mean.split() == ["mean_rank", "1.0", "3.0", "+2.0", "..", "+2.0", "a", "is", "better"]
    assert any(line.strip() == "oof text > image" for line in lines)


def test_a_split_that_only_one_run_was_asked_in_is_left_out_and_told():
    oof, test = ranks_of([1, 5, 9, 2]), ranks_of([3, 3, 3, 3], split="test")
    fewer = pl.concat([oof.head(3), test])
    assert common_splits(pl.concat([oof, test]), fewer) == (
        ["test"],
        ["oof is left out: 1 queries only in a, 0 only in b"],
    )
    assert common_splits(pl.concat([oof, test]), test)[0] == ["test"]
    assert common_splits(oof, test) == ([], [
        "oof is left out: 4 queries only in a, 0 only in b", "test is left out: 0 queries only in a, 4 only in b",
    ])  # fmt: skip
    assert common_splits(oof, oof.reverse()) == (["oof"], [])


def test_the_printed_table_says_what_is_left_out(monkeypatch):
    known = {"a": pl.concat([ranks_of([1, 5]), ranks_of([3, 3], split="test")]), "b": ranks_of([2, 2], split="test")}
    monkeypatch.setattr("pipeline_lib.compare.read_ranks", lambda revision, project: known[revision])
    output = io.StringIO()
    Console(file=output, width=140).print(compare_revisions("a", "b", 200))
    assert "oof is left out: 2 queries only in a, 0 only in b" in output.getvalue()
    assert "test text > image" in output.getvalue()
    assert "oof text > image" not in output.getvalue()


def test_unknown_revisions_and_missing_ranks_are_named(project, tmp_path):
    with pytest.raises(ValueError, match=r"exp-nowhere: no such revision or experiment"):
        read_ranks("exp-nowhere", project)
    with pytest.raises(ValueError, match=r"ranks\.parquet: no such file; run `dvc repro`"):
        read_ranks("workspace", tmp_path)


def test_ranks_that_no_cache_holds_say_how_to_make_them(project, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(project, copy)
    shutil.rmtree(copy / ".dvc" / "cache")
    with pytest.raises(ValueError, match=r"first-run: its .*ranks\.parquet is not at hand .*; run that revision again"):
        read_ranks("first-run", copy)
