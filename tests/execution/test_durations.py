"""The log of how long stages took: what is written is read, after a kill and beside other processes, too."""

import json
import sys

import pytest

from pipeline_lib.artifacts import paths
from pipeline_lib.execution import durations
from pipeline_lib.execution.durations import FILE, Duration, read_durations, record_duration, settings_hash
from pipeline_lib.execution.stage import stage
from pipeline_lib.params.shards import ShardsParams


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["train.py", "--fold", "0"])
    return tmp_path


def test_a_run_is_read_as_it_was_recorded(root):
    record_duration("stages.train", {"train": {"epochs": 3}}, 12.3456, root)
    (root / paths.CATALOGUE).mkdir(parents=True)
    (root / paths.CATALOGUE / "counts.json").write_text('{"products": 7}', encoding="utf-8")
    record_duration("stages.train", {}, 1, root)
    first = Duration("stages.train --fold 0", 12.35, None, {"train": settings_hash({"epochs": 3})})
    assert read_durations(root) == [first, Duration("stages.train --fold 0", 1, 7, {})]


def test_an_incomplete_line_costs_no_other(root):
    record_duration("stages.train", {}, 1, root)
    with (root / FILE).open("a", encoding="utf-8") as stream:
        stream.write('{"command": "stages.tr\n[1]\n{"command": "x", "seconds": "y", "products": 1, "settings": {}}\n')
    record_duration("stages.train", {}, 2, root)
    assert [run.seconds for run in read_durations(root)] == [1, 2]


def test_the_older_half_goes_when_the_file_is_large(root, monkeypatch):
    monkeypatch.setattr(durations, "MAX_BYTES", 1000)
    for number in range(100):
        record_duration("stages.train", {}, number, root)
    runs = read_durations(root)
    assert [run.seconds for run in runs] == list(range(100 - len(runs), 100)) and 5 < len(runs) < 20


def test_a_log_that_cannot_be_written_is_a_line_and_no_failure(root, capsys):
    (root / "logs").write_text("no folder", encoding="utf-8")
    record_duration("stages.train", {}, 1, root)
    assert capsys.readouterr().err.startswith("logs/durations.jsonl: the duration of this stage is not recorded: ")


@pytest.mark.parametrize("counts", ["", '{"prod', "[]", '{"products": null}', "{}"])
def test_counts_that_cannot_be_read_are_a_line_and_no_failure(root, capsys, counts):
    (root / paths.CATALOGUE).mkdir(parents=True)
    (root / paths.CATALOGUE / "counts.json").write_text(counts, encoding="utf-8")
    record_duration("stages.train", {}, 1, root)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("logs/durations.jsonl: the duration of this stage is not recorded: ")


def test_bytes_that_are_no_text_cost_no_run(root, monkeypatch):
    """An argument that is no UTF-8, and a log with a cut character when its older half goes."""
    monkeypatch.setattr(sys, "argv", ["train.py", "--fold", "0\udcff"])
    record_duration("stages.train", {}, 1, root)
    with (root / FILE).open("ab") as stream:
        stream.write(b'{"command": "\xe5\n' * 100)
    monkeypatch.setattr(durations, "MAX_BYTES", 1000)
    record_duration("stages.train", {}, 2, root)
    record_duration("stages.train", {}, 3, root)
    assert [run.seconds for run in read_durations(root)] == [2, 3]


@pytest.mark.parametrize("fails", [False, True])
def test_a_stage_records_its_settings_if_it_ends_well(fails, monkeypatch, root):
    monkeypatch.setattr("pipeline_lib.execution.stage.end_with_owner", lambda: None)
    try:
        with stage("stages.shards") as run:
            run.section(ShardsParams)
            if fails:
                raise ValueError("a fault")
    except SystemExit:
        assert fails
    recorded = [json.loads(line) for line in (root / FILE).read_text().splitlines()] if (root / FILE).exists() else []
    assert [(line["command"], list(line["settings"])) for line in recorded] == [
        ("stages.shards --fold 0", ["shards"])
    ] * (not fails)
