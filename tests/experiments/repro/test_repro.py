"""`vitrine repro` on a toy DAG of real stages: dvc.lock of `dvc repro`, failures, Ctrl-C, and what runs together."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from quick_dvc import run_dvc

from pipeline_lib.experiments.repro.run import reproduce

# DVC reads a deprecated value of pygtrie while it builds the graph.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")

ROOT = Path(__file__).parents[3]
TOY = """
import os, pathlib, sys, time
out, *inputs = sys.argv[1:]
def log(what):
    with open("log.txt", "a") as stream: stream.write(f"{what} {out}\\n")
log("start")
text = "".join(pathlib.Path(name).read_text() for name in inputs)
if "wait" in text: time.sleep(600)
if "meet" in text:
    end = time.monotonic() + 20
    while sum(line.startswith("start meet") for line in open("log.txt")) < 2:
        if time.monotonic() > end: sys.exit("alone")
        time.sleep(0.01)
if "fail" in text: sys.exit(3)
print("wrote", out)
pathlib.Path(out).write_text(text + out)
log("end")
"""
# The second half of the DAG is written first, so that DVC's order is not that of the file.
PIPELINE = {
    "joined": ["meet-1", "meet-0", "side"], "side": ["data.txt"], "meet-1": ["first", "meet.txt"],
    "meet-0": ["first", "meet.txt"], "first": ["data.txt"],
}  # fmt: skip


@pytest.fixture
def toy(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VITRINE_FORKSERVER", "0")
    (tmp_path / "toy.py").write_text(TOY, encoding="utf-8")
    lines = ["stages:"]
    for name, deps in PIPELINE.items():
        lines += [f"  {name}:", f"    cmd: python toy.py {name} {' '.join(deps)}", "    outs:", f"    - {name}"]
        lines += ["    deps:", *(f"    - {dep}" for dep in deps)]
    (tmp_path / "dvc.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "data.txt").write_text("data", encoding="utf-8")
    (tmp_path / "meet.txt").write_text("", encoding="utf-8")
    dvc(tmp_path, "init", "--no-scm", "--quiet")
    return tmp_path


def dvc(folder: Path, *arguments: str) -> str:
    return run_dvc(folder, *arguments).stdout


def started(folder: Path) -> list[str]:
    lines = (folder / "log.txt").read_text(encoding="utf-8").splitlines()
    return [line.split()[1] for line in lines if line.startswith("start")]


def test_the_lock_file_is_that_of_dvc_repro(toy, tmp_path_factory, capfd):
    """The stages meet-0 and meet-1 end only if they run at the same time."""
    plain = shutil.copytree(toy, tmp_path_factory.mktemp("plain"), dirs_exist_ok=True)
    dvc(plain, "repro")
    (toy / "meet.txt").write_text("meet", encoding="utf-8")
    assert reproduce([], 3).startswith("5 stages ran, 0 had not changed")
    assert "first | wrote first\n" in capfd.readouterr().out
    (toy / "meet.txt").write_text("", encoding="utf-8")
    assert reproduce([], 2).startswith("3 stages ran, 2 had not changed")
    assert (toy / "dvc.lock").read_bytes() == (plain / "dvc.lock").read_bytes()
    assert reproduce([], 2).startswith("0 stages ran, 5 had not changed")
    assert len(started(toy)) == 8


def test_a_failed_stage_stops_what_depends_on_it_alone(toy):
    (toy / "meet.txt").write_text("fail", encoding="utf-8")
    with pytest.raises(ValueError, match=r"failed: meet-[01], meet-[01] \(messages above\); .*: joined$"):
        reproduce([], 2)
    assert sorted(started(toy)) == ["first", "meet-0", "meet-1", "side"]
    lock = (toy / "dvc.lock").read_text(encoding="utf-8")
    assert "first:" in lock and "side:" in lock and "meet-0:" not in lock


def test_an_unknown_target_is_one_line(toy):
    with pytest.raises(ValueError, match="nowhere"):
        reproduce(["nowhere"], 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_all_children_end_with_the_command(toy, number):
    """Targets run with what they depend on and nothing else.

    After SIGKILL the toy stages remain: real ones end with their DVC (tests/execution/test_forkserver.py).
    """
    (toy / "meet.txt").write_text("wait", encoding="utf-8")
    code = "from pipeline_lib.cli.main import main; main()"
    run = subprocess.Popen(
        [sys.executable, "-c", code, "repro", "-j", "2", "meet-0", "meet-1"],
        cwd=toy, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
        # A shell that runs the tests in the background has it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    end = time.monotonic() + 60
    while not (toy / "log.txt").exists() or "meet-1" not in started(toy) or "meet-0" not in started(toy):
        assert run.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    children = psutil.Process(run.pid).children(recursive=True)
    # A shell that waits for its stage (dash) is one of them.
    stages = [child for child in children if "toy.py" in " ".join(child.cmdline())]
    assert len(stages) >= 2
    run.send_signal(number)
    # DVC takes the lock of a process for held until somebody has reaped it.
    assert not psutil.wait_procs(set(children) - set(stages), timeout=60)[1]
    if number == signal.SIGKILL:
        for stage in stages:
            stage.kill()
    printed = run.communicate(timeout=60)[0]
    assert not psutil.wait_procs(stages, timeout=60)[1]
    assert number == signal.SIGKILL or (run.returncode, printed[-70:].count("all stages have ended")) == (130, 1)
    (toy / "meet.txt").write_text("", encoding="utf-8")
    dvc(toy, "repro", "meet-0")
    assert sorted(started(toy)) == ["first", "meet-0", "meet-0", "meet-1"]
