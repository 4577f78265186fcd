"""`vitrine compare`: the table, the lines and the JSON of two runs in a real repository."""

import json

import polars as pl
import pytest
from scored_rows import scored

from pipeline_lib.artifacts.schemas import PREDICTIONS_SCHEMA, RANKS_SCHEMA
from pipeline_lib.cli.compare import compare
from pipeline_lib.experiments.compare.pairing import COMPARISON_SCHEMA
from pipeline_lib.experiments.compare.runs import FILES


def write(root, state):
    """Ranks of 1, 2 or 3 by state; the second product is classified correctly except in state 0."""
    ranks = [("oof", "text_to_image", f"q{i}", i, state + 1.0, 100, f"g{i}", 1, 1, 0) for i in range(2)]
    predictions = [
        (f"p{i}", "oof", i, "cup", "cup" if right else "hat", [0.8, 0.2] if right else [0.3, 0.7], f"g{i}")
        for i, right in enumerate((1, state))
    ]
    for file in FILES:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(ranks, schema=RANKS_SCHEMA, orient="row").write_parquet(root / FILES[0])
    scored(pl.DataFrame(predictions, schema=PREDICTIONS_SCHEMA, orient="row"), ["cup", "hat"]).write_parquet(
        root / FILES[1]
    )
    (root / FILES[2]).write_text('["cup", "hat"]', encoding="utf-8")


@pytest.fixture(scope="module")
def repository(three_states):
    outs = sorted({file.parent.as_posix() for file in FILES})
    return three_states(f"stages:\n  evaluate:\n    cmd: 'true'\n    outs: {outs}\n", write)


@pytest.fixture(autouse=True)
def project(repository, monkeypatch):
    monkeypatch.chdir(repository)


def test_a_pipe_gets_one_figure_a_line(vitrine):
    rows = [line.split("\t") for line in vitrine("compare", "first-run").stdout.splitlines()]
    assert [row[:3] for row in rows if row[2] in ("mean_rank", "top1")] == [
        ["oof", "text_to_image", "mean_rank"],
        ["oof", "classification", "top1"],
    ]
    (mean,) = [row for row in rows if row[2] == "mean_rank"]
    assert mean[3:] == ["1.0", "3.0", "+2.0", "+2.0", "+2.0", "a is better"]
    (top1,) = [row for row in rows if row[2] == "top1"]
    assert top1[3:6] == ["0.5000", "1.0000", "+0.5000"] and top1[-1] == "no significant difference"


def test_json_names_both_runs_and_has_a_record_a_figure(vitrine):
    document = json.loads(vitrine("compare", "first-run", "tried", "--json").stdout)
    assert (document["a"], document["b"], document["left_out"]) == ("first-run", "tried", [])
    assert all(list(row) == list(COMPARISON_SCHEMA) for row in document["comparisons"])
    (mean,) = [row for row in document["comparisons"] if row["metric"] == "mean_rank"]
    assert mean == {
        "split": "oof", "task": "text_to_image", "metric": "mean_rank", "a": 1.0, "b": 2.0, "difference": 1.0,
        "low": 1.0, "high": 1.0, "verdict": "a is better",
    }  # fmt: skip


def test_a_terminal_gets_a_table_with_a_heading_for_each_split_and_task(in_terminal):
    lines = in_terminal(120, compare, "first-run", "workspace")
    assert "a = first-run, b = workspace" in lines[0]
    (mean,) = [line for line in lines if "mean_rank" in line]
    assert mean.split() == ["mean_rank", "1.0", "3.0", "+2.0", "..", "+2.0", "a", "is", "better"]
    headings = [line.strip() for line in lines if line.strip().startswith("oof")]
    assert headings == ["oof text > image", "oof classification"]


def test_what_only_one_run_has_is_a_note(vitrine, repository):
    ranks = pl.read_parquet(FILES[0])
    try:
        ranks.head(1).write_parquet(FILES[0])
        result = vitrine("compare", "first-run")
        line = "oof is left out: 1 queries only in a, 0 only in b"
        assert result.stderr == f"{line}\n" and "text_to_image" not in result.stdout
        as_json = json.loads(vitrine("compare", "first-run", "--json").stdout)
        assert as_json["left_out"] == [line]
    finally:
        ranks.write_parquet(FILES[0])
