"""A stage ends with DVC, whatever the shell between them does and whatever the stage is doing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from endings import still_running

from pipeline_lib.execution import owners

ROOT = Path(__file__).parents[2]
STAGE = """
import ctypes, sys, time
from pathlib import Path

Path("started").touch()
time.sleep(float(sys.argv[1]))
from pipeline_lib.execution.stage import stage

with stage("stages.any"):
    Path("works").touch()
    if sys.argv[2] == "native":
        ctypes.CDLL(None).sleep(60)
    time.sleep(60)
"""
# What DVC does: a shell in its own process group, and the variables of the stage.
RUNNER = """
import os, subprocess, sys
environment = os.environ | {"DVC_STAGE": "any"}
subprocess.Popen(["/bin/sh", "-c", sys.argv[1] + "; true"], env=environment).wait()
"""


@pytest.fixture
def run_stage(tmp_path):
    """Start DVC's part with a stage below it; returns both processes once a file exists."""
    (tmp_path / "any_stage.py").write_text(STAGE)
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())

    def start(delay: float, what: str, sign: str) -> tuple[subprocess.Popen[bytes], psutil.Process]:
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
        command = [sys.executable, "-c", RUNNER, f"{sys.executable} -m any_stage {delay} {what}"]
        runner = subprocess.Popen(
            command, cwd=tmp_path, env=environment, start_new_session=True, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 60
        while not (tmp_path / sign).exists() and time.monotonic() < end:
            time.sleep(0.02)
        return runner, psutil.Process(runner.pid).children(recursive=True)[-1]

    return start


@pytest.mark.parametrize(
    ("delay", "what", "sign"), [(1.0, "sleep", "started"), (0.0, "sleep", "works"), (0.0, "native", "works")]
)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stage_below_a_shell_ends_with_dvc(run_stage, tmp_path, delay, what, sign, number):
    runner, stage = run_stage(delay, what, sign)
    runner.send_signal(number)
    runner.wait()
    assert still_running([stage], 10) == []
    assert (tmp_path / "works").exists() == (sign == "works")


def test_a_stage_that_is_started_by_hand_has_no_dvc(monkeypatch):
    monkeypatch.delenv("DVC_STAGE", raising=False)
    assert owners.find_dvc() is None
    monkeypatch.setenv("DVC_STAGE", "train")
    assert owners.find_dvc() == os.getppid()


def test_dvc_is_the_nearest_ancestor_that_does_not_belong_to_the_stage(monkeypatch):
    """An ancestor may belong to another stage: that of a DVC that runs a stage which runs DVC."""
    monkeypatch.setenv("DVC_STAGE", "inner")
    stages = {os.getppid(): "inner", 3: "inner", 4: "outer"}
    monkeypatch.setattr(owners, "environment", lambda process: ["HOME=/", f"DVC_STAGE={stages[process]}"])
    monkeypatch.setattr(owners, "stat_fields", lambda process: ["S", "3" if process == os.getppid() else "4"])
    monkeypatch.setattr(owners, "_has_adopted", lambda process: False)
    assert owners.find_dvc() == 4


def test_nobody_knows_the_processes_of_another_user(monkeypatch):
    def environment(process):
        raise PermissionError(process)

    monkeypatch.setenv("DVC_STAGE", "train")
    monkeypatch.setattr(owners, "environment", environment)
    assert owners.find_dvc() is None
