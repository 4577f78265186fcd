"""Locks: one process at a time runs a stage, and a killed one holds nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline_lib.execution import locks
from pipeline_lib.execution.locks import FOLDER, only_run, release, take_lock

ROOT = Path(__file__).parents[2]
# Holds the lock, with a child that is forked meanwhile and outlives it by 30 s.
HOLDER = """
import os, time
from pathlib import Path
from pipeline_lib.execution.locks import only_run
with only_run("stages.any", ["--fold", "0"]):
    if os.fork() == 0:
        os.close(1)
        time.sleep(30)
        os._exit(0)
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def holder(tmp_path):
    """A process that has the lock of a stage."""
    command, environment = [sys.executable, "-c", HOLDER], os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout.readline() == b"locked\n"
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_a_second_run_names_the_first_and_says_what_to_do(holder, monkeypatch, capsys):
    monkeypatch.setattr(locks, "QUIET_SECONDS", 0.1)
    monkeypatch.setattr(locks, "WAIT_SECONDS", 0.3)
    start = time.monotonic()
    expected = rf"^process {holder.pid} \(stages.any --fold 0\) runs this stage already; .* run `dvc repro` again$"
    with pytest.raises(ValueError, match=expected), only_run("stages.any", ["--fold", "0"]):
        raise AssertionError("two processes run one stage")
    waits = f"stages.any: waits up to 0 s for process {holder.pid} (stages.any --fold 0), which runs it\n"
    assert capsys.readouterr().err == waits and time.monotonic() - start < 10
    with only_run("stages.any", ["--fold", "1"]), only_run("stages.other", ["--fold", "0"]):
        pass


def test_a_second_run_waits_until_the_first_has_ended_whatever_its_children_do(holder):
    holder.kill()
    holder.wait()
    start = time.monotonic()
    with only_run("stages.any", ["--fold", "0"]):
        assert time.monotonic() - start < locks.QUIET_SECONDS
    assert not list(FOLDER.iterdir())


def test_a_lock_is_that_of_the_file_that_exists(tmp_path):
    file = tmp_path / "LOCK"
    first = take_lock(file, "the first")
    assert take_lock(file) is None and locks.holder(file) == "the first"
    file.unlink()
    second = take_lock(file, "the second")
    assert second is not None and locks.holder(file) == "the second"
    for lock in (first, second):
        release(lock)


def test_without_locks_a_stage_runs_and_says_so(monkeypatch, capsys):
    """As on a network folder whose server has none."""

    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with only_run("stages.any", []):
        pass
    assert capsys.readouterr().err == (
        "stages.any: runs without a lock, because data/work/.locks allows none: [Errno 95] Operation not supported\n"
    )
