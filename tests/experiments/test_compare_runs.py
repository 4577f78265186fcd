"""Runs read from a real repository, and the table that is printed of two of them."""

import io
import json
import shutil

import polars as pl
import pytest
from rich.console import Console

from pipeline_lib.artifacts.schemas import PREDICTIONS_SCHEMA, RANKS_SCHEMA
from pipeline_lib.experiments.compare import runs as revisions
from pipeline_lib.experiments.compare.runs import FILES, Run, compare_revisions, compare_runs, read_run

CLASSES = ["cup", "hat"]


def ranks_of(ranks, split="oof"):
    rows = [(split, "text_to_image", f"q{i}", i % 3, float(rank), 100, f"g{i}") for i, rank in enumerate(ranks)]
    return pl.DataFrame(rows, schema=RANKS_SCHEMA, orient="row")


def told(right, split="oof"):
    rows = [(f"p{i}", split, i % 3, "cup", "cup" if hit else "hat", [0.8, 0.2] if hit else [0.3, 0.7], f"g{i}")
            for i, hit in enumerate(right)]  # fmt: skip
    return pl.DataFrame(rows, schema=PREDICTIONS_SCHEMA, orient="row")


NO_RANKS, NOTHING_TOLD = pl.DataFrame(schema=RANKS_SCHEMA), pl.DataFrame(schema=PREDICTIONS_SCHEMA)


def write(root, run: Run):
    for file in FILES:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
    run.ranks.write_parquet(root / FILES[0])
    run.probabilities.write_parquet(root / FILES[1])
    (root / FILES[2]).write_text(json.dumps(run.classes), encoding="utf-8")


@pytest.fixture(scope="module")
def project(three_states):
    """Ranks of 1 in the first commit, of 2 in the experiment `tried`, of 3 in the working tree."""
    outs = sorted({file.parent.as_posix() for file in FILES})
    return three_states(
        f"stages:\n  evaluate:\n    cmd: 'true'\n    outs: {outs}\n",
        lambda root, state: write(root, Run(ranks_of([state + 1] * 2), told([1, state]), CLASSES)),
    )


def printed(*arguments) -> list[str]:
    output = io.StringIO()
    Console(file=output, width=140).print(compare_revisions(*arguments))
    return output.getvalue().splitlines()


def test_runs_are_read_from_a_revision_an_experiment_and_the_working_tree(project):
    for revision, rank, right in (("first-run", 1, 1), ("tried", 2, 2), ("workspace", 3, 2)):
        run = read_run(revision, project)
        assert run.ranks["rank"].to_list() == [rank, rank] and run.classes == CLASSES
        assert (run.probabilities["predicted"] == "cup").sum() == right


def test_the_printed_table_names_both_runs_and_all_they_were_asked(project):
    lines = printed("first-run", "workspace", 200, project)
    assert "a = first-run, b = workspace" in lines[0]
    (mean,) = [line for line in lines if "mean_rank" in line]
    assert mean.split() == ["mean_rank", "1.0", "3.0", "+2.0", "..", "+2.0", "a", "is", "better"]
    (top1,) = [line for line in lines if "top1" in line]
    assert top1.split()[:3] == ["top1", "0.5000", "1.0000"]
    assert [line.strip() for line in lines if line.strip().startswith("oof")] == [
        "oof text > image",
        "oof classification",
    ]


def test_what_only_one_run_was_asked_is_left_out_and_told(monkeypatch):
    known = {
        "a": Run(pl.concat([ranks_of([1, 5]), ranks_of([3, 3], "test")]), told([1, 0, 1]), CLASSES),
        "b": Run(ranks_of([2, 2], "test"), told([1, 0]), CLASSES),
    }
    monkeypatch.setattr(revisions, "read_run", lambda revision, project: known[revision])
    text = "\n".join(printed("a", "b", 200))
    assert "oof is left out: 2 queries only in a, 0 only in b" in text
    assert "classification, oof is left out: 1 products only in a, 0 only in b" in text
    assert "test text > image" in text and "oof text > image" not in text


def test_runs_of_retrieval_or_classification_alone_are_compared_in_that():
    tells, ranks = Run(NO_RANKS, told([1, 0, 1]), CLASSES), Run(ranks_of([1, 2]), NOTHING_TOLD, [])
    for run, about in ((tells, {"classification"}), (ranks, {"text_to_image"})):
        rows, left_out = compare_runs(run, run, 200)
        assert set(rows["about"]) == about and left_out == []


def test_runs_with_nothing_in_common_are_refused():
    tells = Run(NO_RANKS, told([1, 0, 1]), CLASSES)
    with pytest.raises(ValueError, match=r"not asked the same: oof is left out: 0 queries only in a, 2 only in b"):
        compare_runs(tells, Run(ranks_of([1, 2]), NOTHING_TOLD, []), 200)
    with pytest.raises(ValueError, match="a tells 2 classes, b 3 other ones"):
        compare_runs(tells, Run(NO_RANKS, told([1, 0, 1]), [*CLASSES, "mug"]), 200)
    with pytest.raises(ValueError, match="neither has a rank or a labelled prediction"):
        compare_runs(Run(NO_RANKS, NOTHING_TOLD, []), Run(NO_RANKS, NOTHING_TOLD, []), 200)


def test_unknown_revisions_and_missing_files_are_named(project, tmp_path):
    with pytest.raises(ValueError, match=r"exp-nowhere: no such revision or experiment"):
        read_run("exp-nowhere", project)
    with pytest.raises(ValueError, match=r"ranks\.parquet: no such file; run `dvc repro`"):
        read_run("workspace", tmp_path)


def test_a_run_of_another_version_of_the_code_is_refused_by_name(tmp_path):
    write(tmp_path, Run(ranks_of([1]), told([1]).drop("group_id"), CLASSES))
    with pytest.raises(ValueError, match=r"workspace: .*probabilities\.parquet lacks group_id: another version"):
        read_run("workspace", tmp_path)


def test_files_that_no_cache_holds_say_how_to_make_them(project, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(project, copy)
    shutil.rmtree(copy / ".dvc" / "cache")
    with pytest.raises(ValueError, match=r"first-run: its .*ranks\.parquet .* not at hand .*; run that revision again"):
        read_run("first-run", copy)
