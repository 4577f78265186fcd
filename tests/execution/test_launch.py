"""A stage that relaunches itself: a failure in any process is one line, and no process outlives the stage."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from endings import still_running

from pipeline_lib.execution import launch

# Starts 2 processes as torchrun does, waits for both, and writes to stderr if one failed.
LAUNCHER = """
import os, subprocess, sys
started = []
for rank in range(2):
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    environment = os.environ | {name: str(value) for name, value in names.items()}
    started.append(subprocess.Popen([sys.executable, *sys.argv[1:]], env=environment))
if any([process.wait() for process in started]):
    print("pages of launcher output", file=sys.stderr)
    sys.exit(1)
"""
STAGE = """
import os, sys, time
from pathlib import Path
from pipeline_lib.execution.launch import launched, launcher, read_ranks, relaunch
from pipeline_lib.execution.stage import stage

def body(what):
    rank = read_ranks().rank if read_ranks() else None
    Path(f"started-{rank}").write_text(os.environ["OMP_NUM_THREADS"])
    if what == "wait":
        time.sleep(60)
    if what == "both" or (what in ("one", "bug", "status") and rank == 1):
        if what == "status":
            os._exit(3)
        raise (RuntimeError if what == "bug" else ValueError)("train.epochs = 0; write 1")
    if what in ("one", "bug"):
        time.sleep(60)

def check():
    if sys.argv[1] == "moved":
        raise ValueError("train changed while the stage ran")

with stage("stages.any") as run:
    if launcher():
        relaunch("any_stage")
    else:
        with launched(check):
            body(sys.argv[1])
        print("plain")
print("done")
"""


@pytest.fixture
def start_stage(tmp_path):
    (tmp_path / "launcher.py").write_text(LAUNCHER)
    (tmp_path / "any_stage.py").write_text(STAGE)
    shutil.copy(Path(__file__).parents[2] / "params.yaml", tmp_path)

    def start(what, launcher=f"{sys.executable} launcher.py"):
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), str(tmp_path)])
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", "any_stage", what]
        environment |= {launch.LAUNCH: launcher} if launcher else {"OMP_NUM_THREADS": "7"}
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe, text=True)

    return start


def test_all_processes_run_the_body_and_the_stage_continues(start_stage, tmp_path):
    process = start_stage("work")
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout, stderr) == (0, "done\n", "")
    assert sorted(path.name for path in tmp_path.glob("started-*")) == ["started-0", "started-1"]
    assert (tmp_path / "started-0").read_text() == "1"


def test_without_a_launcher_the_stage_runs_in_its_own_process(start_stage, tmp_path):
    process = start_stage("work", "")
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout, stderr) == (0, "plain\ndone\n", "")
    assert (tmp_path / "started-None").read_text() == "7"


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("one", "train.epochs = 0; write 1"),
        ("both", "train.epochs = 0; write 1"),
        ("moved", "train changed while the stage ran"),
    ],
)
def test_a_failure_of_one_process_is_one_line(start_stage, what, line):
    """It appears within seconds, although the other process would sleep for a minute."""
    start = time.monotonic()
    process = start_stage(what)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout, stderr) == (1, "", f"stages.any: error: {line}\n")
    assert time.monotonic() - start < 20


def test_a_bug_shows_its_traceback_once(start_stage):
    process = start_stage("bug")
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1 and stderr.count("Traceback") == 1 and "pages of" not in stderr
    last = stderr.splitlines()[-1]
    assert last == "stages.any: error: a process failed with RuntimeError; its traceback is above"


def test_a_status_without_a_reason_names_the_command(start_stage):
    process = start_stage("status")
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1 and "pages of launcher output" in stderr
    assert "error: VITRINE_LAUNCH: `" in stderr and "ended with status 1; its output is above" in stderr


def test_a_missing_launcher_is_one_line(start_stage):
    process = start_stage("work", "no-such-launcher -n 2")
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1 and stderr.count("\n") == 1 and "no-such-launcher" in stderr


def test_a_launcher_that_sets_no_ranks_is_one_line(start_stage):
    process = start_stage("work", sys.executable)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1 and stderr.count("\n") == 1
    assert "the launcher does not set RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE" in stderr


def wait_for_ranks(process, folder) -> list[psutil.Process]:
    """Wait until both ranks are in the body, and return the launcher and two processes of each rank."""
    end = time.monotonic() + 60
    while len(list(folder.glob("started-*"))) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 5
    return children


@pytest.mark.parametrize("victim", ["stage", "launcher"])
def test_no_process_outlives_the_stage_or_its_launcher(start_stage, tmp_path, victim):
    process = start_stage("wait")
    children = wait_for_ranks(process, tmp_path)
    (process if victim == "stage" else children[0]).kill()
    assert still_running(children, 10) == []
    stderr = process.communicate(timeout=10)[1]
    assert process.returncode in (-9, 1)
    if victim == "launcher":
        assert "was killed by SIGKILL; its output is above" in stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_rank_is_named_with_its_signal(start_stage, tmp_path, number):
    """The other rank would sleep for a minute, and prints nothing."""
    process = start_stage("wait")
    children = wait_for_ranks(process, tmp_path)
    worker = next(child for child in children if child.environ().get("RANK") == "1" and not child.children())
    worker.send_signal(number)
    _, stderr = process.communicate(timeout=20)
    hint = " (memory?)" if number == signal.SIGKILL else ""
    assert stderr == f"stages.any: error: VITRINE_LAUNCH: rank 1 was killed by {number.name}{hint}\n"
    assert still_running(children, 10) == []


@pytest.mark.parametrize("launcher", ["", f"{sys.executable} launcher.py"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_stage_is_one_line(start_stage, tmp_path, launcher, number):
    process = start_stage("wait", launcher)
    end = time.monotonic() + 60
    while len(list(tmp_path.glob("started-*"))) < (2 if launcher else 1) and time.monotonic() < end:
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=20)
    expected = f"stages.any: interrupted ({number.name})\n"
    assert (process.returncode, stdout, stderr) == (128 + number, "", expected)
    assert still_running(children, 10) == []


def test_the_folder_of_a_killed_stage_goes_at_the_next_start(start_stage, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    process = start_stage("wait")
    wait_for_ranks(process, tmp_path)
    process.kill()
    process.communicate()
    assert len(list(temporary.iterdir())) == 1
    start_stage("work").communicate(timeout=60)
    assert not list(temporary.iterdir())
