"""`vitrine compare`: the table, the lines, the JSON, the Markdown and the page of runs in a real repository."""

import json
from dataclasses import replace

import polars as pl
import pytest
from compared_runs import make_run, write_run

from pipeline_lib.cli.compare import compare
from pipeline_lib.experiments.compare.decisions import COMPARISON_SCHEMA
from pipeline_lib.experiments.compare.runs import FILES, RANKS

COUNT = 40


def write(root, state):
    """Ranks of 1, 2 or 3 by state; the even products of test are classified wrongly in state 0."""
    right = [number < COUNT // 2 or state > 0 or number % 2 for number in range(COUNT)]
    write_run(root, make_run([state + 1] * COUNT, right, seed=state))


@pytest.fixture(scope="module")
def repository(three_states):
    outs = sorted({file.parent.as_posix() for file in FILES if file.parent.name})
    return three_states(f"stages:\n  evaluate:\n    cmd: 'true'\n    outs: {outs}\n", write)


@pytest.fixture(autouse=True)
def project(repository, monkeypatch):
    monkeypatch.chdir(repository)


def test_a_pipe_gets_one_figure_a_line(vitrine):
    result = vitrine("compare", "first-run")
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[:4] for row in rows if row[2] in ("mean_rank", "top1")][:2] == [
        ["test", "text_to_image", "mean_rank", "b"],
        ["test", "classification", "top1", "b"],
    ]
    (mean,) = [row for row in rows if row[:3] == ["test", "text_to_image", "mean_rank"]]
    assert mean[4:9] == ["1.0", "3.0", "+2.0", "+2.0", "+2.0"] and mean[-1] == "a is better"
    (top1,) = [row for row in rows if row[:3] == ["test", "classification", "top1"]]
    assert top1[4:7] == ["0.5000", "1.0000", "+0.5000"] and top1[-1] == "b is better"
    assert "about these checkpoints" in result.stderr and "p decides (randomisation test" in result.stderr


def test_runs_parts_queries_and_swaps_are_announced_on_stderr(vitrine):
    single = vitrine("compare", "first-run", "--only", "classification", "--json")
    assert single.stderr.splitlines()[0] == (
        "compare: 2 runs, 2 parts (test.classification, oof.classification) with 40 products, up to 10,000 "
        "swaps of groups"
    )
    assert json.loads(single.stdout)["a"] == "first-run"
    seeds = vitrine("compare", "plain=first-run", "new=tried,workspace", "--only", "text_to_image").stderr
    assert seeds.startswith(
        "compare: 3 runs of 2 settings, 2 parts (test.text_to_image, oof.text_to_image) with 40 queries, Student's t"
    )


def test_json_names_the_runs_and_has_a_record_a_figure(vitrine):
    document = json.loads(vitrine("compare", "first-run", "tried", "--json", "--primary", "mean_rank").stdout)
    assert (document["a"], document["b"], document["left_out"]) == ("first-run", "tried", [])
    assert document["primary"] == "test.text_to_image.mean_rank" and document["about"] == "checkpoints"
    assert document["runs"]["b"] == {"name": "tried", "runs": ["tried"], "seeds": [1]}
    assert all(list(row) == list(COMPARISON_SCHEMA) for row in document["comparisons"])
    (mean,) = [row for row in document["comparisons"] if row["primary"]]
    assert mean == {
        "split": "test", "task": "text_to_image", "metric": "mean_rank", "run": "b", "a": 1.0, "b": 2.0,
        "difference": 1.0, "low": 1.0, "high": 1.0, "p": mean["p"], "p_adjusted": mean["p"], "smallest": None,
        "a_deviation": None, "b_deviation": None, "primary": True, "verdict": "a is better",
    }  # fmt: skip
    assert mean["p"] == pytest.approx(1 / 10_001)
    assert [row["losses"] for row in document["counts"] if row["metric"] == "mean_rank"] == [COUNT // 2]
    assert document["notes"][0].startswith("The verdicts are about these checkpoints")
    assert len(document["changed"]) == 5 and {one["better"] for one in document["changed"]} == {False}


def test_a_terminal_gets_a_table_with_a_heading_for_each_part(in_terminal):
    lines = in_terminal(120, compare, ["first-run", "workspace"])
    assert "a = first-run, b = workspace" in lines[0]
    (mean,) = [line.split() for line in lines if "mean_rank" in line and "+2.0" in line][:1]
    assert mean[:6] == ["mean_rank", "1.0", "3.0", "+2.0", "..", "+2.0"] and mean[-3:] == ["a", "is", "better"]
    headings = [line.strip() for line in lines if line.strip().startswith(("test ", "oof "))][:4]
    assert headings == ["test text > image", "test classification", "oof text > image", "oof classification"]
    assert any("changed most" in line for line in lines) and any("p decides" in line for line in lines)


def test_runs_of_a_setting_are_named_together_and_markdown_is_printed(vitrine, repository):
    text = vitrine("compare", "plain=first-run", "new=tried,workspace", "--md").stdout
    assert text.startswith("**a = plain, b = new (seeds 1, 2)**")
    assert "| R@5 | 1.0000 | 1.0000 ±0.0000 |" in text and "about the checkpoint a" in text
    with pytest.raises(ValueError, match=r"new lists|'new=tried,tried' lists a run twice"):
        vitrine("compare", "HEAD", "new=tried,tried")


def test_a_run_whose_settings_were_changed_after_it_is_named(vitrine, repository):
    """The working tree: its lock has the seed of the run, its params.yaml another one."""
    file = repository / "dvc.lock"
    lock = file.read_text(encoding="utf-8")
    recorded = "    params: {params.yaml: {train.seed: SEED}}\n    outs:\n    - path: reports/metrics.json\n"
    line = "workspace: train.seed changed after its run, so its figures are of the settings before; run `dvc repro`"
    try:
        for seed, named in ((2, False), (3, True)):
            file.write_text(lock.replace("    outs:\n", recorded.replace("SEED", str(seed))), encoding="utf-8")
            result = vitrine("compare", "first-run", "workspace")
            assert (result.stderr.splitlines()[-1] == line) == (line in result.stderr) == named
            notes = json.loads(vitrine("compare", "first-run", "--json").stdout)["notes"]
            assert (line in notes) == named
    finally:
        file.write_text(lock, encoding="utf-8")


def test_other_queries_are_refused_and_a_task_can_be_chosen(vitrine):
    ranks = pl.read_parquet(RANKS)
    try:
        ranks.head(COUNT - 1).write_parquet(RANKS)
        with pytest.raises(ValueError, match=r"different test sets: test, text_to_image: queries: 1 only in first-run"):
            vitrine("compare", "first-run")
        lines = vitrine("compare", "first-run", "--only", "classification").stdout.splitlines()
        assert {line.split("\t")[1] for line in lines} == {"classification"}
    finally:
        ranks.write_parquet(RANKS)


def test_a_page_is_written_without_pictures_where_there_are_none(vitrine, tmp_path):
    page = tmp_path / "page.html"
    result = vitrine("compare", "first-run", "--page", str(page))
    assert "The pictures are left out" in result.stderr and f"page: {page}" in result.stderr
    assert "lamp &lt;b&gt;" in page.read_text(encoding="utf-8")
    as_markdown = vitrine("compare", "first-run", "--md", "--page", str(page))
    assert f"page: {page}" in as_markdown.stderr and as_markdown.stdout.startswith("**a = first-run")


def test_an_unwritable_page_is_one_line(vitrine, tmp_path):
    with pytest.raises(OSError, match=r"nowhere/page\.html"):
        vitrine("compare", "first-run", "--page", str(tmp_path / "nowhere/page.html"))


def test_a_classifier_alone_declares_its_accuracy(vitrine):
    ranks = pl.read_parquet(RANKS)
    run = replace(make_run([1] * COUNT), ranks=ranks.clear())
    assert run.ranks.is_empty()
    try:
        run.ranks.write_parquet(RANKS)
        document = json.loads(vitrine("compare", "first-run", "--json").stdout)
        assert document["primary"] == "test.classification.top1"
        assert document["left_out"] == ["text_to_image is left out: only first-run has it"]
    finally:
        ranks.write_parquet(RANKS)
