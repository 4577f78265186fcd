"""`vitrine doctor` on real projects that are broken in one place, and whether what it advises heals them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from quick_dvc import run_dvc

from pipeline_lib.experiments.doctor.dvc_state import (
    dvc_file_fault,
    judge_lock_files,
    judge_lost,
    read_lost,
    read_rwlock,
)

# DVC reads a deprecated value of pygtrie while it builds the graph.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")

ROOT = Path(__file__).parents[3]
PIPELINE = """
stages:
  first:
    cmd: echo first >> ran.txt; cp data.txt first.txt
    deps: [data.txt]
    outs: [first.txt]
  second:
    cmd: echo second >> ran.txt; cp first.txt second.txt
    deps: [first.txt]
    outs: [second.txt]
"""


def run(folder: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    if command[0] == "dvc":
        return run_dvc(folder, *command[1:], check=check)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, check=check, capture_output=True, text=True
    )  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    for name, text in (("dvc.yaml", PIPELINE), ("data.txt", "data")):
        (root / name).write_text(text, encoding="utf-8")
    run(root, "git", "init", "-q", "-b", "main")
    run(root, "dvc", "init", "--quiet")
    run(root, "dvc", "repro", "--quiet")
    run(root, "git", "add", "-A")
    run(root, "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "built")
    return root


@pytest.mark.parametrize("cut", [0, 40, 150, 260])
def test_a_cut_lock_file_is_found_and_what_is_advised_heals_it(built, cut):
    """DVC refuses to work, `dvc commit` too; neither advice runs a stage again."""
    lock = built / "dvc.lock"
    sound, ran = lock.read_bytes(), (built / "ran.txt").read_bytes()
    assert dvc_file_fault(lock) is None
    lock.write_bytes(sound[:cut])
    try:
        finding = judge_lock_files({"dvc.lock": dvc_file_fault(lock)})[0]
        assert finding.level == "problem"
        if "is no hash" not in finding.message:
            assert run(built, "dvc", "commit", "--force", check=False).returncode != 0
        first, second = finding.action.split("; or ")
        for advice in (first.partition(":")[0], second.partition(",")[0]):
            lock.write_bytes(sound[:cut])
            run(built, "bash", "-c", advice)
            assert lock.read_bytes() == sound and (built / "ran.txt").read_bytes() == ran
    finally:
        lock.write_bytes(sound)


def test_a_lock_file_cut_anywhere_is_damaged_or_lacks_entries_alone(tmp_path, built):
    """A cut between entries is no damage: DVC takes what they are about as not yet run, and restores it."""
    sound = (built / "dvc.lock").read_bytes()
    hashes = set(re.findall("md5: ([0-9a-f]{32})\n", sound.decode()))
    harmless = 0
    for size in range(len(sound)):
        (tmp_path / "dvc.lock").write_bytes(sound[:size])
        if dvc_file_fault(tmp_path / "dvc.lock") is None:
            harmless += 1
            assert set(re.findall("md5: (.*)", sound[:size].decode())) <= hashes
    assert 0 < harmless < len(sound) / 2


def test_a_stage_that_lost_its_entry_is_named(built):
    lock = built / "dvc.lock"
    sound = lock.read_bytes()
    lock.write_text("schema: '2.0'\nstages: {}\n", encoding="utf-8")
    (built / "second.txt").rename(built / "gone.txt")
    try:
        level, message = next((one.level, one.message) for one in judge_lost(read_lost(built, {})))
        assert level == "note" and "first" in message and "second" not in message
        (built / "gone.txt").rename(built / "second.txt")
        run(built, "dvc", "repro")
        assert lock.read_bytes() == sound and judge_lost(read_lost(built, {})) == []
    finally:
        lock.write_bytes(sound)


def test_outs_of_other_stages_in_a_shared_folder_are_no_lost_entry(tmp_path):
    """A teacher's features lie beside those of the towers, and a phase's models beside the marker of no phase."""
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  features:\n    cmd: a\n    outs: ['work/${item.name}']\n  teacher:\n    matrix: {name: []}\n"
        "    cmd: b\n    outs: ['work/${item.name}']\n  phase:\n    cmd: c\n    outs: ['phases/${item.a}/${item.b}']\n",
        encoding="utf-8",
    )
    lock = "schema: '2.0'\nstages:\n"
    for name, out in (("features@trunk", "work/trunk"), ("folds", "phases/none")):
        lock += f"  {name}:\n    cmd: a\n    outs:\n    - path: {out}\n      md5: {'a' * 32}\n      size: 1\n"
    (tmp_path / "dvc.lock").write_text(lock, encoding="utf-8")
    for folder in ("work/trunk", "phases/none"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").touch()
    (tmp_path / "work/.gitkeep").touch()
    assert read_lost(tmp_path, {}) == []
    (tmp_path / "work/mine").mkdir()
    assert read_lost(tmp_path, {}) == ["teacher"]


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("", "damaged"),
        ('{"write": {"/x": {"pi', "damaged"),
        ("[]", "damaged"),
        ('{"read": {}, "write": {}}', "sound"),
        ('{"write": {"/x": {"pid": 999999999, "cmd": "dvc repro"}}, "read": {}}', "sound"),
    ],
)
def test_the_list_of_locks_is_damaged_or_sound(tmp_path, text, state):
    (tmp_path / "rwlock").write_text(text, encoding="utf-8")
    assert read_rwlock(tmp_path / "rwlock") == (state, [])
    assert read_rwlock(tmp_path / "none") == (None, [])


def test_a_running_dvc_is_named(tmp_path):
    info = {"pid": os.getpid(), "cmd": "dvc repro train"}
    (tmp_path / "rwlock").write_text(json.dumps({"read": {"/y": [info]}, "write": {"/x": info}}), encoding="utf-8")
    assert read_rwlock(tmp_path / "rwlock") == ("sound", ["dvc repro train"])
