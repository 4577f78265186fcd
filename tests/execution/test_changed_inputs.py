"""A stage fails if any file of any dep in dvc.yaml changes while it runs, and only then: every stage, every dep."""

import os
import shlex
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.execution import stage as stage_module
from pipeline_lib.execution.stage import Stage

ROOT = Path(__file__).parents[2]
NAMES = list(YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
# Every optional branch is planned, and no two settings name one folder.
PARAMS = """\
data: {root: data/raw/shop}
split: {assignment: data/splits/mine}
ensemble: {fuse_with: data/predictions/mine}
model: {weights_root: data/weights}
train: {init_from: data/starts/mine}
plan:
  frames: [clips]
  folds: [0, 1]
  scales: [32, 64]
  features: [trunk]
  teachers: [big]
  phases: [{name: head, after: none}]
  last: head
  index: [flat]
  search: [0]
  judged: [0]
  composed: [sum]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project whose deps are folders and files of a few bytes, and its stages by DVC itself: name -> stage."""
    folder = tmp_path_factory.mktemp("inputs")
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder)
    (folder / "params.yaml").write_text(PARAMS, encoding="utf-8")
    Repo.init(str(folder), no_scm=True).close()
    with Repo(str(folder)) as repo:
        stages = {stage.name: stage for stage in repo.index.stages}
        made = {dep for stage in stages.values() for dep in deps_of(stage, folder)}
    for dep in sorted(made):
        path = folder / dep
        if path.suffix:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"" if dep.startswith("data/work/code/") else b"some bytes")
        else:
            (path / "inner").mkdir(parents=True, exist_ok=True)
            (path / "inner/file.bin").write_bytes(b"some bytes")
    return folder, stages


def deps_of(stage, folder):
    return [Path(dep.fs_path).relative_to(folder).as_posix() for dep in stage.deps if not hasattr(dep, "params")]


def started(stage, folder, monkeypatch):
    """The stage as its own command starts it."""
    module, *arguments = shlex.split(stage.cmd)[2:]
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    return Stage(module, folder)


@contextmanager
def rewritten(file):
    """Other bytes of the same number: the time of modification alone changes."""
    before, state = file.read_bytes(), file.stat()
    file.write_bytes(before[::-1])
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    yield file.name
    file.write_bytes(before)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


@contextmanager
def longer(file):
    """More bytes, with the old time of modification."""
    before, state = file.read_bytes(), file.stat()
    file.write_bytes(before + b"!")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    yield file.name
    file.write_bytes(before)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


@contextmanager
def replaced(file):
    """Another file of the same size and time: the inode alone changes."""
    aside = file.with_name("aside.pyc")  # .dvcignore has its name
    file.rename(aside)
    shutil.copy2(aside, file)
    yield file.name
    aside.rename(file)


@contextmanager
def removed(file):
    aside = file.with_name("aside.pyc")
    file.rename(aside)
    yield "removed)"
    aside.rename(file)


@contextmanager
def added(file):
    new = file.with_name("new.bin")
    new.touch()
    yield "new.bin (new)"
    new.unlink()


CHANGES = (rewritten, longer, replaced, removed, added)


@pytest.mark.parametrize("name", NAMES)
def test_a_change_of_any_dep_fails_the_stage(project, name, monkeypatch):
    folder, stages = project
    members = [stage for member, stage in stages.items() if member.partition("@")[0] == name]
    assert members
    for stage in members:
        run = started(stage, folder, monkeypatch)
        run.check_unchanged()
        deps = deps_of(stage, folder)
        assert deps
        for dep in deps:
            files = [path for path in sorted((folder / dep).rglob("*")) if path.is_file()] or [folder / dep]
            for change in CHANGES:
                if change is added and (folder / dep).is_file():
                    continue
                with change(files[0]) as words, pytest.raises(ValueError, match="changed while the stage ran") as error:
                    run.check_unchanged()
                assert words in str(error.value) and dep in str(error.value), (dep, change)
                assert "\n" not in str(error.value) and str(error.value).endswith("run `dvc repro` again")
        run.check_unchanged()


@pytest.mark.parametrize("name", NAMES)
def test_reading_and_what_dvc_ignores_fail_no_stage(project, name, monkeypatch):
    folder, stages = project
    stage = next(stage for member, stage in stages.items() if member.partition("@")[0] == name)
    run = started(stage, folder, monkeypatch)
    for dep in deps_of(stage, folder):
        path = folder / dep
        for file in [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]:
            state = file.stat()
            file.read_bytes()
            os.utime(file, ns=(state.st_atime_ns + 10**12, state.st_mtime_ns))
        if path.is_dir():
            (path / "inner/__pycache__").mkdir(exist_ok=True)
            (path / "inner/__pycache__/module.bin").touch()
            (path / "inner/.out.712.part").mkdir(exist_ok=True)
            (path / "inner/.out.712.part/half").touch()
            (path / ".gitignore").touch()
    outside = folder / "data/other"
    outside.mkdir(exist_ok=True)
    (outside / "file").write_text(name)
    run.check_unchanged()


@pytest.fixture
def started_folds(project, monkeypatch):
    folder, stages = project
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", shlex.split(stages["folds"].cmd)[2:])
    monkeypatch.setattr(Stage, "check_params", lambda _: None)
    monkeypatch.setattr(stage_module, "end_with_owner", lambda: None)
    return folder


def test_the_old_outs_stay_if_an_input_changed(started_folds, capsys):
    out = started_folds / "data/work/folds"
    (out / "old").touch()
    with pytest.raises(SystemExit) as exit_, stage_module.stage("stages.folds"), fresh_folder(out) as part:
        (part / "new").touch()
        with (started_folds / "data/splits/mine/inner/file.bin").open("ab") as file:
            file.write(b"edited")
    assert exit_.value.code == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "data/splits/mine/inner/file.bin changed while the stage ran" in line
    assert (out / "old").exists() and not (out / "new").exists()


def test_a_stage_without_changes_replaces_its_outs(started_folds):
    out = started_folds / "data/work/folds"
    with stage_module.stage("stages.folds"), fresh_folder(out) as part:
        (part / "new").touch()
    assert [path.name for path in out.iterdir()] == ["new"]


@pytest.mark.parametrize(("rank", "fails"), [("0", True), ("1", False)])
def test_one_of_several_processes_looks_at_the_inputs(started_folds, monkeypatch, rank, fails):
    monkeypatch.setenv("VITRINE_LAUNCHED", "a folder")
    monkeypatch.setenv("RANK", rank)
    run = Stage("stages.folds")
    (started_folds / f"data/splits/mine/rank-{rank}").touch()
    if fails:
        with pytest.raises(ValueError, match="rank-0"):
            run.check_unchanged()
    else:
        run.check_unchanged()


def test_a_command_that_dvc_yaml_lacks_runs_and_says_that_nothing_is_compared(started_folds, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["folds", "--unknown"])
    Stage("stages.folds").check_unchanged()
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("DVC_STAGE", "folds")
    Stage("stages.folds").check_unchanged()
    assert "edits of inputs are not noticed" in capsys.readouterr().err
