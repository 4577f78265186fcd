"""Stages forked from a server process under a real `dvc repro`: their environment, and every way to end.

One test imports the real libraries. The others give the server empty modules of their names, which start in no time.
"""

import contextlib
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
from endings import still_running

from pipeline_lib.execution.forks import LIBRARIES
from pipeline_lib.execution.forkserver import SWITCH

ROOT = Path(__file__).parents[2]
PRINT = 'print("printed by", out, flush=True)'
TOY = f"""
import json, os, signal, sys, time
from pathlib import Path
from pipeline_lib.execution.forkserver import run_stage


def main() -> None:
    out, ending = sys.argv[1:]
    record = {{
        "parent": os.getppid(), "own": os.getpid(), "folder": os.getcwd(), "colour": os.environ.get("COLOUR"),
        "stage": os.environ["DVC_STAGE"], "torch": "torch" in sys.modules, "module": __name__,
    }}
    Path(out).write_text(json.dumps(record), encoding="utf-8")
    {PRINT}
    if ending == "fail":
        raise SystemExit(3)
    if ending == "error":
        raise RuntimeError("a fault of the code")
    if ending == "refuse":
        raise SystemExit("toy: error: a bad row")
    if ending == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if ending == "wait":
        time.sleep(600)


if __name__ == "__main__":
    run_stage("toy", main, starts=sys.argv[2] != "join")
"""


# A fork that does nothing for a second.
SLOW_FORK = """
import os, time

fork = os.fork


def slow() -> int:
    child = fork()
    if child == 0:
        time.sleep(1)
    return child


os.fork = slow
"""


@pytest.fixture(params=["/bin/sh", "/bin/bash"])
def shell(request, monkeypatch):
    """DVC runs a stage in the user's shell: dash waits and ends with 128 + the signal, bash becomes the stage."""
    if not Path(request.param).exists():
        pytest.skip(f"there is no {request.param}")
    monkeypatch.setenv("SHELL", request.param)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A DVC project with the toy stage, and empty modules in place of the libraries that take seconds."""
    folder = tmp_path_factory.mktemp("template")
    (folder / "toy.py").write_text(TOY, encoding="utf-8")
    for library in [name for name in LIBRARIES if name.startswith(("torch", "timm", "transformers"))]:
        path = folder / "stubs" / library.replace(".", "/")
        path.mkdir(parents=True)
        for package in (path, *path.parents[: library.count(".")]):
            (package / "__init__.py").touch()
    assert dvc(folder, "init", "--no-scm", "--quiet").communicate() == ("", None)
    return folder


@pytest.fixture
def project(template, tmp_path):
    return shutil.copytree(template, tmp_path / "project")


def dvc(project: Path, *arguments: str, **variables: str) -> subprocess.Popen:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    modules = os.pathsep.join([str(project / "stubs"), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": modules, "PATH": path, "COLOUR": "red"} | variables
    return subprocess.Popen(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
    )  # fmt: skip


def write_stages(project: Path, chained: bool = True, **endings: str) -> None:
    """Write a DAG of toy stages; if `chained`, each depends on the previous one."""
    lines, before = ["stages:"], None
    for name, ending in endings.items():
        lines += [f"  {name}:", f"    cmd: python -m toy {name}.json {ending}", "    outs:", f"    - {name}.json"]
        lines += ["    deps:", f"    - {before}.json"] if before and chained else []
        before = name
    (project / "dvc.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_record(project: Path, name: str) -> dict:
    return json.loads((project / f"{name}.json").read_text(encoding="utf-8"))


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def wait_for_record(project: Path, name: str) -> dict:
    path = project / f"{name}.json"
    wait_until(lambda: path.exists() and path.read_text(encoding="utf-8"))
    return read_record(project, name)


def reports_signal(number: int, printed: str) -> bool:
    return any(f"exited with {status}\n" in printed for status in (-number, 128 + number))


def have_ended(*processes: int) -> bool:
    return not any(map(is_running, processes))


def is_running(number: int) -> bool:
    try:
        return psutil.Process(number).status() != "zombie"
    except psutil.NoSuchProcess:
        return False


def client_of(run: subprocess.Popen) -> psutil.Process:
    return next(
        process for process in psutil.Process(run.pid).children(recursive=True) if "toy" in process.cmdline()
    )  # fmt: skip


def test_stages_are_forks_of_one_process_that_has_torch_and_ends_with_dvc(project):
    write_stages(project, one="end", two="end")
    run = dvc(project, "repro", PYTHONPATH=str(ROOT))
    printed = run.communicate()[0]
    assert run.returncode == 0, printed
    one, two = read_record(project, "one"), read_record(project, "two")
    assert one["parent"] == two["parent"] and one["own"] != two["own"]
    for name, stage in (("one", one), ("two", two)):
        assert stage["torch"] and stage["module"] == "toy"
        assert (stage["folder"], stage["colour"], stage["stage"]) == (str(project), "red", name)
        assert f"printed by {name}.json" in printed
    wait_until(lambda: have_ended(one["parent"]))
    assert not list((project / ".dvc/tmp/vitrine").iterdir())


def test_without_the_server_a_stage_is_the_process_that_dvc_started(project):
    write_stages(project, one="end")
    run = dvc(project, "repro", **{SWITCH: "0"})
    printed = run.communicate()[0]
    assert run.returncode == 0, printed
    assert not read_record(project, "one")["torch"] and read_record(project, "one")["module"] == "__main__"
    assert not (project / ".dvc/tmp/vitrine").exists()


def test_a_stage_that_starts_no_server_uses_one_that_runs(project):
    write_stages(project, one="join", two="end", three="join")
    printed = dvc(project, "repro").communicate()[0]
    one, two, three = (read_record(project, name) for name in ("one", "two", "three"))
    assert (one["module"], two["module"], three["module"]) == ("__main__", "toy", "toy"), printed
    assert three["parent"] == two["parent"] != one["parent"] and "imports torch itself" not in printed


def test_code_that_is_edited_between_two_stages_counts(project):
    """This includes modules that the server has imported itself."""
    shutil.copytree(ROOT / "pipeline_lib", project / "pipeline_lib", ignore=shutil.ignore_patterns("__pycache__"))
    edit = "Path('pipeline_lib/execution/stage.py').open('a').write('EDITED = True\\n')"
    write = "Path(out).write_text(str(hasattr(stage, 'EDITED')))"
    toy = f"from pipeline_lib.execution import stage\n{TOY}".replace(PRINT, f"{write}; {edit}")
    (project / "toy.py").write_text(toy, encoding="utf-8")
    write_stages(project, one="end", two="end")
    run = dvc(project, "repro", PYTHONPATH=os.pathsep.join([str(project / "stubs"), str(project)]))
    printed = run.communicate()[0]
    assert run.returncode == 0, printed
    assert [(project / f"{name}.json").read_text(encoding="utf-8") for name in ("one", "two")] == ["False", "True"]


def test_a_stage_ends_as_its_fork_ended(shell, project):
    """One `dvc repro --keep-going` runs a stage for every ending, all on one server."""
    endings = ("fail", "error", "refuse", "die")
    write_stages(project, chained=False, **{ending: ending for ending in endings})
    run = dvc(project, "repro", "--keep-going")
    printed = run.communicate()[0]
    assert run.returncode != 0 and not (project / "dvc.lock").exists()
    assert all(f"printed by {ending}.json" in printed for ending in endings)
    for ending, status in (("fail", 3), ("error", 1), ("refuse", 1)):
        assert f"python -m toy {ending}.json {ending}, exited with {status}\n" in printed
    assert "RuntimeError: a fault of the code" in printed and "toy: error: a bad row\n" in printed
    assert reports_signal(signal.SIGKILL, printed)


def test_all_processes_end_when_dvc_is_killed(shell, project):
    write_stages(project, one="wait")
    run = dvc(project, "repro")
    one = wait_for_record(project, "one")
    os.kill(run.pid, signal.SIGKILL)
    wait_until(lambda: have_ended(one["own"], one["parent"]))
    run.communicate()


SIGNALS = {"killed": signal.SIGKILL, "terminated": signal.SIGTERM, "interrupted": signal.SIGINT}


def test_a_signal_to_the_process_that_dvc_started_ends_the_stage(shell, project):
    """One `dvc repro --keep-going` runs a stage for every signal, all on one server."""
    write_stages(project, chained=False, **dict.fromkeys(SIGNALS, "wait"))
    run, records = dvc(project, "repro", "--keep-going"), {}

    def running() -> list[str]:
        written = [name for name in SIGNALS if (project / f"{name}.json").exists() and name not in records]
        return [name for name in written if (project / f"{name}.json").read_text(encoding="utf-8")]

    for _ in SIGNALS:
        wait_until(running)
        [name] = running()
        records[name] = read_record(project, name)
        client_of(run).send_signal(SIGNALS[name])
        wait_until(lambda own=records[name]["own"]: have_ended(own))
    printed = run.communicate()[0]
    assert run.returncode != 0
    for name, number in SIGNALS.items():
        lines = [line for line in printed.splitlines() if f"toy {name}.json wait, exited with " in line]
        assert lines and all(reports_signal(number, f"{line}\n") for line in lines), printed
    wait_until(lambda: have_ended(*{record["parent"] for record in records.values()}))


def test_a_killed_server_fails_the_stage_in_one_line(project):
    write_stages(project, one="wait")
    run = dvc(project, "repro")
    one = wait_for_record(project, "one")
    os.kill(one["parent"], signal.SIGKILL)
    printed = run.communicate()[0]
    assert run.returncode != 0 and "toy: error: the fork server was killed" in printed
    wait_until(lambda: have_ended(one["own"]))


@pytest.mark.parametrize("where", ["in the server", "in a library"])
def test_if_the_server_does_not_start_the_stage_runs_in_its_own_process(project, where):
    write_stages(project, one="end")
    broken = project / "broken"
    broken.mkdir()
    name, text = {
        "in the server": (
            "sitecustomize",
            "import sys\nif 'pipeline_lib.execution.forkserver' in sys.orig_argv: sys.exit('no')\n",
        ),
        "in a library": ("torch", "import time\ntime.sleep(1)\nraise ImportError('no')\n"),
    }[where]
    (broken / f"{name}.py").write_text(text, encoding="utf-8")
    run = dvc(project, "repro", PYTHONPATH=f"{broken}{os.pathsep}{ROOT}")
    printed = run.communicate()[0]
    assert run.returncode == 0 and "toy: imports torch itself" in printed, printed
    assert read_record(project, "one")["module"] == "__main__"
    log = next((project / ".dvc/tmp/vitrine").glob("*.log"))
    assert log.name in printed and "no" in log.read_text(encoding="utf-8")


def toy_by_hand(project: Path, out: str, ending: str, shared: Path) -> subprocess.CompletedProcess:
    """Run the toy stage without DVC; its search path differs from that of the server."""
    modules = os.pathsep.join(str(path) for path in (project, project / "stubs", ROOT))
    environment = os.environ | {"PYTHONPATH": modules, "DVC_STAGE": "toy", "COLOUR": "blue", SWITCH: str(shared)}
    command = [sys.executable, "-m", "toy", out, ending]
    return subprocess.run(command, cwd=project / "stubs", env=environment, capture_output=True, text=True, check=False)


def test_stages_by_hand_share_a_server_until_its_owner_ends(project, tmp_path):
    shared, elsewhere = tmp_path / "shared.socket", tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(project / "stubs"), str(ROOT)])}
    owner = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    command = [sys.executable, "-m", "pipeline_lib.execution.forkserver", str(shared), str(owner.pid)]
    server = subprocess.Popen(command, cwd=elsewhere, env=environment)
    wait_until(shared.exists)
    records = []
    for name, ending, status in (("one", "end", 0), ("two", "fail", 3)):
        done = toy_by_hand(project, f"{name}.json", ending, shared)
        assert (done.returncode, done.stdout, done.stderr) == (status, f"printed by {name}.json\n", "")
        records.append(read_record(project / "stubs", name))
    assert [record["parent"] for record in records] == [server.pid] * 2
    for record in records:
        assert record["folder"] == str(project / "stubs") and record["module"] == "toy"
        assert record["torch"] and record["colour"] == "blue"
    owner.communicate(b"\n")
    assert server.wait(timeout=60) == 0 and not shared.exists()


def test_a_shared_server_that_does_not_exist_is_named(project, tmp_path):
    done = toy_by_hand(project, "one.json", "end", tmp_path / "none.socket")
    assert done.returncode == 0 and read_record(project / "stubs", "one")["module"] == "__main__"
    assert f"{SWITCH} = {tmp_path}/none.socket, but no fork server listens there" in done.stderr


def test_a_killed_servers_files_go_at_the_next_start_and_nobody_else_can_use_them(project):
    folder = project / ".dvc/tmp/vitrine"
    folder.mkdir(parents=True, mode=0o755)
    folder.chmod(0o777)
    write_stages(project, one="wait")
    run = dvc(project, "repro")
    one = wait_for_record(project, "one")
    assert {oct(path.stat().st_mode & 0o777) for path in (folder, *folder.glob("*.socket"))} == {"0o700", "0o600"}
    for process in (one["parent"], run.pid):  # neither can remove a file
        os.kill(process, signal.SIGKILL)
    run.communicate()
    left = set(folder.iterdir())
    assert len(left) == 2
    write_stages(project, one="end")
    run = dvc(project, "repro")
    assert run.communicate()[0] and run.returncode == 0
    assert not left & set(folder.iterdir())


def test_a_folder_that_others_could_write_has_no_server(project):
    elsewhere = project / "elsewhere"
    elsewhere.mkdir()
    (project / ".dvc/tmp").mkdir(exist_ok=True)
    (project / ".dvc/tmp/vitrine").symlink_to(elsewhere)
    write_stages(project, one="end")
    run = dvc(project, "repro")
    printed = run.communicate()[0]
    assert run.returncode == 0 and not list(elsewhere.iterdir())
    assert "vitrine is not a folder of this user, so there is no fork server" in printed


def test_a_stage_that_ignores_sigterm_ends_with_its_client(project):
    """Its main thread is in native code, which no handler of Python interrupts."""
    toy = TOY.replace("time.sleep(600)", "signal.signal(signal.SIGTERM, lambda *_: None); import ctypes; "
                      "[ctypes.CDLL(None).sleep(600) for _ in range(5)]")  # fmt: skip
    (project / "toy.py").write_text(toy, encoding="utf-8")
    write_stages(project, one="wait")
    run = dvc(project, "repro")
    one = wait_for_record(project, "one")
    client_of(run).kill()
    wait_until(lambda: have_ended(one["own"]), 10)
    run.communicate()


@pytest.mark.parametrize("newest", ["toy", "pipeline_lib.execution.forkserver"])
def test_nothing_outlives_dvc_while_the_server_starts(shell, project, newest):
    """DVC is killed when a process appears: the server has not looked at its owner yet, so it does not start."""
    (project / "stubs/torch/__init__.py").write_text("import time\ntime.sleep(3)\n", encoding="utf-8")
    write_stages(project, one="wait")
    run = dvc(project, "repro")
    started: list[psutil.Process] = []

    def has_started() -> bool:
        started[:] = psutil.Process(run.pid).children(recursive=True)
        with contextlib.suppress(psutil.Error):
            return any(newest in process.cmdline() for process in started)
        return False

    wait_until(has_started)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert still_running(started, 10) == []
    run.communicate()
    assert not (project / "one.json").exists()


def test_ctrl_c_ends_a_stage_whose_fork_has_not_run_yet(project, tmp_path):
    """A fork that returned into the loop of the server would go on there, and its client would wait for it."""
    (project / "stubs/torch/__init__.py").write_text(SLOW_FORK, encoding="utf-8")
    shared = tmp_path / "shared.socket"
    modules = os.pathsep.join(str(path) for path in (project, project / "stubs", ROOT))
    environment = os.environ | {"PYTHONPATH": modules, SWITCH: str(shared)}
    command = [sys.executable, "-m", "pipeline_lib.execution.forkserver", str(shared), str(os.getpid())]
    with subprocess.Popen(command, env=environment) as server:
        wait_until(shared.exists)
        stage = [sys.executable, "-m", "toy", "one.json", "wait"]
        client = subprocess.Popen(stage, cwd=project, env=environment | {"DVC_STAGE": "toy"}, stderr=subprocess.PIPE)
        wait_until(lambda: psutil.Process(server.pid).children())
        time.sleep(0.5)
        client.send_signal(signal.SIGINT)
        try:
            assert client.communicate(timeout=10)[1] == b"" and client.returncode == -signal.SIGINT
        finally:
            client.kill()
            server.kill()
    assert not (project / "one.json").exists()
