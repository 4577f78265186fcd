"""Stages forked from one process under a real `dvc repro`: what they are run with, and every way to end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline_lib.execution import forkserver
from pipeline_lib.execution.forkserver import SWITCH

ROOT = Path(__file__).parents[2]
TOY = """
import json, os, signal, sys, time
from pathlib import Path
from pipeline_lib.forkserver import run_stage


def main() -> None:
    out, what = sys.argv[1:]
    told = {
        "parent": os.getppid(), "own": os.getpid(), "folder": os.getcwd(), "colour": os.environ.get("COLOUR"),
        "stage": os.environ["DVC_STAGE"], "torch": "torch" in sys.modules, "started": __name__,
    }
    Path(out).write_text(json.dumps(told), encoding="utf-8")
    print("said by", out)
    if what == "fail":
        raise SystemExit(3)
    if what == "error":
        raise RuntimeError("a fault of the code")
    if what == "refuse":
        raise SystemExit("toy: error: a bad row")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "wait":
        time.sleep(600)


if __name__ == "__main__":
    run_stage("toy", main)
"""


@pytest.fixture(params=["/bin/sh", "/bin/bash"])
def shell(request, monkeypatch):
    """DVC runs a stage in the user's shell: dash waits and ends with 128 + its signal, bash becomes the stage."""
    if not Path(request.param).exists():
        pytest.skip(f"there is no {request.param}")
    monkeypatch.setenv("SHELL", request.param)


@pytest.fixture
def project(tmp_path):
    (tmp_path / "toy.py").write_text(TOY, encoding="utf-8")
    assert dvc(tmp_path, "init", "--no-scm", "--quiet").communicate() == ("", None)
    return tmp_path


def dvc(project: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    whole = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path, "COLOUR": "red"} | environment
    return subprocess.Popen(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=project, env=whole, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
    )  # fmt: skip


def stages(project: Path, **what: str) -> None:
    """A DAG of stages, each after the one before it."""
    lines, before = ["stages:"], None
    for name, ending in what.items():
        lines += [f"  {name}:", f"    cmd: python -m toy {name}.json {ending}", "    outs:", f"    - {name}.json"]
        lines += ["    deps:", f"    - {before}.json"] if before else []
        before = name
    (project / "dvc.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def told(project: Path, name: str) -> dict:
    return json.loads((project / f"{name}.json").read_text(encoding="utf-8"))


def until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def running(project: Path, name: str) -> dict:
    path = project / f"{name}.json"
    until(lambda: path.exists() and path.read_text(encoding="utf-8"))
    return told(project, name)


def said_to_have_died_of(number: int, printed: str) -> bool:
    return any(f"exited with {status}\n" in printed for status in (-number, 128 + number))


def gone(*processes: int) -> bool:
    return not any(
        psutil.pid_exists(number) and psutil.Process(number).status() != "zombie" for number in processes
    )  # fmt: skip


def client_of(run: subprocess.Popen) -> psutil.Process:
    return next(
        process for process in psutil.Process(run.pid).children(recursive=True) if "toy" in process.cmdline()
    )  # fmt: skip


def test_stages_are_forks_of_one_process_that_has_torch_and_ends_with_dvc(project):
    stages(project, one="end", two="end")
    run = dvc(project, "repro")
    printed = run.communicate()[0]
    assert run.returncode == 0, printed
    one, two = told(project, "one"), told(project, "two")
    assert one["parent"] == two["parent"] and one["own"] != two["own"]
    for name, stage in (("one", one), ("two", two)):
        assert stage["torch"] and stage["started"] == "toy"
        assert (stage["folder"], stage["colour"], stage["stage"]) == (str(project), "red", name)
        assert f"said by {name}.json" in printed
    until(lambda: gone(one["parent"]))
    assert not list((project / ".dvc/tmp/vitrine").iterdir())


def test_without_the_server_a_stage_is_the_process_that_dvc_started(project):
    stages(project, one="end")
    run = dvc(project, "repro", **{SWITCH: "0"})
    printed = run.communicate()[0]
    assert run.returncode == 0, printed
    assert not told(project, "one")["torch"] and told(project, "one")["started"] == "__main__"
    assert not (project / ".dvc/tmp/vitrine").exists()


def test_code_that_is_edited_between_two_stages_counts(project):
    """Also code that the server has loaded itself."""
    shutil.copytree(ROOT / "pipeline_lib", project / "pipeline_lib", ignore=shutil.ignore_patterns("__pycache__"))
    edited = "Path('pipeline_lib/execution/stage.py').open('a').write('EDITED = True\\n')"
    seen = "Path(out).write_text(str(hasattr(provenance, 'EDITED')))"
    toy = f"from pipeline_lib import provenance\n{TOY}".replace('print("said by", out)', f"{seen}; {edited}")
    (project / "toy.py").write_text(toy, encoding="utf-8")
    stages(project, one="end", two="end")
    run = dvc(project, "repro", PYTHONPATH=str(project))
    assert run.wait() == 0, run.communicate()[0]
    run.communicate()
    assert [(project / f"{name}.json").read_text(encoding="utf-8") for name in ("one", "two")] == ["False", "True"]


@pytest.mark.parametrize(
    ("ending", "status", "line"),
    [
        ("fail", 3, "said by"),
        ("error", 1, "RuntimeError: a fault of the code"),
        ("refuse", 1, "toy: error: a bad row"),
    ],
)
def test_a_stage_ends_as_its_fork_did(project, ending, status, line):
    stages(project, one=ending)
    run = dvc(project, "repro")
    printed = run.communicate()[0]
    assert run.returncode != 0 and f"exited with {status}\n" in printed and line in printed
    assert not (project / "dvc.lock").exists()


def test_a_stage_dies_as_its_fork_did(shell, project):
    stages(project, one="die")
    run = dvc(project, "repro")
    printed = run.communicate()[0]
    assert run.returncode != 0 and said_to_have_died_of(signal.SIGKILL, printed)
    assert not (project / "dvc.lock").exists()


def test_all_end_when_dvc_is_killed(shell, project):
    stages(project, one="wait")
    run = dvc(project, "repro")
    one = running(project, "one")
    os.kill(run.pid, signal.SIGKILL)
    until(lambda: gone(one["own"], one["parent"]))
    run.communicate()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stage_ends_when_the_process_that_dvc_waits_for_is_told_to(shell, project, number):
    stages(project, one="wait")
    run = dvc(project, "repro")
    one = running(project, "one")
    client_of(run).send_signal(number)
    printed = run.communicate()[0]
    assert run.returncode != 0 and said_to_have_died_of(number, printed)
    until(lambda: gone(one["own"], one["parent"]))


def test_a_server_that_is_killed_fails_the_stage_in_one_line(project):
    stages(project, one="wait")
    run = dvc(project, "repro")
    one = running(project, "one")
    os.kill(one["parent"], signal.SIGKILL)
    printed = run.communicate()[0]
    assert run.returncode != 0 and "toy: error: the process it was forked from was killed" in printed
    until(lambda: gone(one["own"]))


@pytest.mark.parametrize("where", ["in the server", "in a library it loads"])
def test_a_server_that_does_not_start_leaves_the_stage_to_its_own_process(project, where):
    stages(project, one="end")
    broken = project / "broken"
    broken.mkdir()
    name, text = {
        "in the server": (
            "sitecustomize",
            "import sys\nif 'pipeline_lib.execution.forkserver' in sys.orig_argv: sys.exit('no')\n",
        ),
        "in a library it loads": ("torch", "import time\ntime.sleep(1)\nraise ImportError('no')\n"),
    }[where]
    (broken / f"{name}.py").write_text(text, encoding="utf-8")
    run = dvc(project, "repro", PYTHONPATH=f"{broken}{os.pathsep}{ROOT}")
    printed = run.communicate()[0]
    assert run.returncode == 0 and "toy: loads torch itself" in printed, printed
    assert told(project, "one")["started"] == "__main__"
    log = next((project / ".dvc/tmp/vitrine").glob("*.log"))
    assert log.name in printed and "no" in log.read_text(encoding="utf-8")


def test_by_hand_there_is_no_dvc_above(monkeypatch):
    monkeypatch.delenv("DVC_STAGE", raising=False)
    assert forkserver._dvc() is None
    monkeypatch.setenv("DVC_STAGE", "train")
    assert forkserver._dvc() == os.getppid()
    # A stage of a stage, of a stage, up to processes whose environment another user may not see.
    asked = []

    def environment(number):
        asked.append(number)
        if len(asked) > 2:
            raise PermissionError(number)
        return ["HOME=/", "DVC_STAGE=outer"]

    monkeypatch.setattr(forkserver, "_environment", environment)
    monkeypatch.setattr(forkserver, "_fields", lambda number: ["S", str(number + 1)])
    assert forkserver._dvc() is None and len(asked) == 3
