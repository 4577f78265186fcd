"""`vitrine clean`: what it removes, what it leaves, and what it says."""

import json
import os
import time
from pathlib import Path

import pytest
import torch

from pipeline_lib.execution.checkpoint import CheckpointFolder
from pipeline_lib.execution.checkpoint_runs import SECONDS_A_DAY, checkpoint_runs

OUT = "data/work/train/{fold}"
LOCK_FILE = (
    "schema: '2.0'\nstages:\n  train@0:\n    cmd: c\n    outs:\n    - path: data/work/train/0\n      md5: {md5}\n"
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Checkpoints of a recorded run, of an old and a new killed one, and of an old one for a test to lock."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("VITRINE_CHECKPOINTS", raising=False)
    for name in ("recorded", "old", "new", "locked"):
        with CheckpointFolder(name, out=Path(OUT.format(fold=int(name != "recorded")))) as folder:
            folder.save_last({"weights": torch.zeros(1000)})
            if name == "recorded":
                folder.finish()
    (tmp_path / "dvc.lock").write_text(LOCK_FILE.format(md5="aaa.dir"), encoding="utf-8")
    for name in ("old", "locked"):
        for path in (tmp_path / ".ckpt" / name).iterdir():
            os.utime(path, times=(time.time() - 3 * SECONDS_A_DAY,) * 2)
    return tmp_path


def remaining():
    return {run.folder.name for run in checkpoint_runs()}


def test_what_is_recorded_or_old_is_removed_and_reported_with_its_size(project, vitrine):
    sizes = {run.folder.name: run.size for run in checkpoint_runs()}
    with CheckpointFolder("locked"):
        data = json.loads(vitrine("clean", "--json").stdout)
    states = {Path(run["folder"]).name: (run["state"], run["bytes"]) for run in data["removed"]}
    assert states == {"recorded": ("recorded", sizes["recorded"]), "old": ("unfinished", sizes["old"])}
    assert {Path(run["folder"]).name for run in data["remaining"]} == remaining() == {"new", "locked"}
    assert data["bytes_removed"] == sizes["recorded"] + sizes["old"] > 8000
    assert data["bytes_remaining"] == sizes["new"] + sizes["locked"]


def test_an_age_of_zero_removes_all_but_locked_folders(project, vitrine):
    with CheckpointFolder("locked"):
        done = vitrine("clean", "--older-than", "0m")
    rows = [line.split("\t")[:4] for line in done.stdout.splitlines()]
    assert sorted(rows) == [
        ["remains", "locked", "data/work/train/1", "unfinished"],
        ["removed", "new", "data/work/train/1", "unfinished"],
        ["removed", "old", "data/work/train/1", "unfinished"],
        ["removed", "recorded", "data/work/train/0", "recorded"],
    ]
    assert done.stderr.startswith("3 of 4 folders removed, 0.0 MB; 0.0 MB remain in ") and remaining() == {"locked"}


def test_a_folder_without_checkpoints_is_no_error(tmp_path, monkeypatch, vitrine):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert vitrine("clean").stdout == ""


def test_an_age_without_a_unit_is_refused(project, vitrine):
    with pytest.raises(ValueError, match="--older-than two: write a number of days, hours or minutes, such as 2d, 12h"):
        vitrine("clean", "--older-than", "two")
    assert len(remaining()) == 4
