"""Tests of pages do not vanish in silence: CI installs a browser where it can, and a run without one names its gaps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from chromium import PROGRAMS

ROOT = Path(__file__).parents[2]
UPDATE = "update -qq"
SHELL = "install -y -qq --no-install-recommends chromium-headless-shell"
WHOLE = "install -y -qq --no-install-recommends chromium"


@pytest.fixture
def prepare(tmp_path):
    """Return a function that runs .ci/chromium with these programs alone; it returns apt-get's calls and stderr."""

    def run(user="0", apt=0, browser=None, unknown="no package"):
        programs = {"id": f"echo {user}"}
        if browser:
            programs[browser] = "exit 1"
        if apt is not None:
            programs["apt-get"] = f'echo "$@" >> {tmp_path}/calls; [[ $* != *" {unknown}" ]] || exit 100; exit {apt}'
        for name, body in programs.items():
            (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
            (tmp_path / name).chmod(0o755)
        script = ["/bin/bash", str(ROOT / ".ci/chromium")]
        done = subprocess.run(script, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True)
        calls = tmp_path / "calls"
        return calls.read_text(encoding="utf-8").splitlines() if calls.is_file() else [], done.stderr

    return run


def test_root_installs_what_is_missing(prepare):
    assert prepare() == ([UPDATE, SHELL], "")


def test_a_release_without_the_headless_shell_gets_the_whole_browser(prepare):
    assert prepare(unknown="chromium-headless-shell") == ([UPDATE, SHELL, WHOLE], "")


@pytest.mark.parametrize("browser", PROGRAMS)
def test_a_browser_that_is_there_is_enough(browser, prepare):
    assert prepare(browser=browser) == ([], "")


@pytest.mark.parametrize(("options", "calls"), [({"user": "1000"}, []), ({"apt": None}, []), ({"apt": 100}, [UPDATE])])
def test_where_none_can_be_installed_a_line_says_so(options, calls, prepare):
    found, words = prepare(**options)
    assert found == calls and "the tests of pages will be skipped" in words


def test_a_run_without_a_browser_names_what_it_left_out(tmp_path):
    """In another process than the one that skips, as `make test` runs it.

    In a folder of its own: otherwise it would first remove those of earlier runs, which takes up to 20 seconds.
    """
    name = "tests/report/test_comparison_in_a_browser.py"
    options = ["-p", "no:cacheprovider", "--numprocesses", "1", "--basetemp", str(tmp_path / "nested")]
    command = [sys.executable, "-m", "pytest", *options, name]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PATH": ""}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"NOT RUN, no Chromium on the path (apt-get install chromium): {name}\n" in done.stdout
    assert done.stdout.count("NOT RUN") == 1


def test_ci_and_the_workflow_install_it():
    for path in (".ci/run", ".github/workflows/ci.yml"):
        lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
        assert any(line.split()[-1:] == [".ci/chromium"] for line in lines), path
