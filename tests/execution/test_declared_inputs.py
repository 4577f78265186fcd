"""Paths of dvc.yaml are those of DVC; links are followed; what DVC does to linked files is no change."""

import os
import shlex
from pathlib import Path

import pytest
from dvc.repo import Repo

from pipeline_lib.execution.declared_inputs import DeclaredInputs, StageFiles, declared_files
from pipeline_lib.params.section import load_params

DVC_YAML = """\
stages:
  one:
    matrix: {fold: "${plan.folds}", kind: [flat, hnsw]}
    cmd: nice python -m stages.one --fold ${item.fold} --kind ${item.kind}
    deps: ["${root}/table.csv", "raw/${item.kind}", "size-${plan.scales[1]}"]
    outs: ["made/${item.fold}-${item.kind}"]
  two:
    matrix: {name: "${plan.names}"}
    cmd: python -m stages.two
    deps: ["raw/${item.name.first}"]
    outs: ["two/${item.name.first}": {cache: false}]
"""
PARAMS = "root: data/../data/mine\nplan: {folds: [0, 1], scales: [32, 64], names: [{first: a}, {first: b}]}\n"


def test_paths_are_those_of_dvc(tmp_path):
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    (tmp_path / "params.yaml").write_text(PARAMS)
    Repo.init(str(tmp_path), no_scm=True).close()
    wanted: dict[str, tuple[set[str], set[str]]] = {}
    with Repo(str(tmp_path)) as repo:
        for stage in repo.index.stages:
            for paths, outs in zip(wanted.setdefault(stage.cmd, (set(), set())), (stage.deps, stage.outs), strict=True):
                paths |= {Path(out.fs_path).relative_to(tmp_path).as_posix() for out in outs}
    assert len(wanted) == 5
    params = load_params(tmp_path / "params.yaml")
    for command, (deps, outs) in wanted.items():
        words = shlex.split(command)
        place = words.index("-m")
        found = declared_files(words[place + 1], words[place + 2 :], params, tmp_path)
        assert (set(found.deps), set(found.outs)) == (deps, outs)


@pytest.mark.parametrize("arguments", [[], ["--fold", "2", "--kind", "flat"], ["--kind", "flat", "--fold", "0"]])
def test_another_command_has_no_declared_files(tmp_path, arguments):
    assert declared_files("stages.one", arguments, {}, tmp_path) is None
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    (tmp_path / "params.yaml").write_text(PARAMS)
    assert declared_files("stages.one", arguments, load_params(tmp_path / "params.yaml"), tmp_path) is None


def look(root, *deps, outs=()):
    return DeclaredInputs(StageFiles(deps, outs), root)


def test_links_are_followed_and_loops_end(tmp_path):
    (tmp_path / "elsewhere/deep").mkdir(parents=True)
    (tmp_path / "elsewhere/deep/photo").write_text("a")
    (tmp_path / "weights").write_text("w")
    data = tmp_path / "data"
    data.mkdir()
    (data / "linked").symlink_to(tmp_path / "elsewhere")
    (data / "weights").symlink_to(tmp_path / "weights")
    (tmp_path / "elsewhere/deep/loop").symlink_to(tmp_path / "elsewhere")
    (data / "broken").symlink_to(tmp_path / "nothing")
    inputs = look(tmp_path, "data")
    assert inputs.changed() == []
    (tmp_path / "elsewhere/deep/photo").write_text("bb")
    (data / "weights").unlink()
    (data / "weights").symlink_to(tmp_path / "elsewhere/deep/photo")
    (tmp_path / "nothing").touch()
    assert inputs.changed() == ["data/broken (new)", "data/linked/deep/photo", "data/weights"]


def test_what_cannot_be_looked_at_has_no_state(tmp_path, monkeypatch):
    """The stage that reads it says what is wrong with it; a catalogue rejects one such photo."""
    (tmp_path / "data/closed").mkdir(parents=True)
    (tmp_path / "data/loop").symlink_to("loop")
    (tmp_path / "file").touch()
    scandir = os.scandir

    def refusing(folder):
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    inputs = look(tmp_path, "data", "file/inner", "data/loop")
    assert inputs.changed() == []
    (tmp_path / "data/loop").unlink()
    (tmp_path / "data/loop").touch()
    assert inputs.changed() == ["data/loop (new)", "data/loop (new)"]


@pytest.mark.parametrize(
    ("ignored", "seen"),
    [
        ("cache", ["data/a.tmp (new)"]), ("cache/\n*.tmp", []), ("*.tmp", ["data/cache/file (new)"]),
        ("*.tmp\n!a.tmp\ncache", ["data/a.tmp (new)", "data/cache/file (new)"]),
        ("data/a.tmp\ncache", ["data/a.tmp (new)"]),
    ],
)  # fmt: skip
def test_what_dvcignore_names_is_left_out(tmp_path, ignored, seen):
    """A name is that of a file or of a folder; with a line that takes a pattern back, everything is compared."""
    (tmp_path / ".dvcignore").write_text(f"# names\n{ignored}\n")
    (tmp_path / "data/cache").mkdir(parents=True)
    inputs = look(tmp_path, "data")
    for name in ("a.tmp", "cache/file"):
        (tmp_path / "data" / name).touch()
    assert inputs.changed() == seen


def test_a_message_names_few_files_and_counts_the_others(tmp_path):
    (tmp_path / "data").mkdir()
    for number in range(9):
        (tmp_path / f"data/{number}").touch()
    inputs = look(tmp_path, "data", "absent")
    for number in range(5):
        (tmp_path / f"data/{number}").write_text("x")
    for number in (7, 8):
        (tmp_path / f"data/{number}").unlink()
    (tmp_path / os.fsdecode(b"data/0\xff\n")).touch()
    (tmp_path / "absent").touch()
    assert inputs.changed() == [
        "data/0", "data/0\\xff? (new)", "data/1", "3 more files of data", "data (2 files removed)", "absent (new)",
    ]  # fmt: skip


def test_a_folder_that_takes_the_place_of_a_file_and_the_reverse(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/inner").touch()
    inputs = look(tmp_path, "file", "folder")
    (tmp_path / "file").unlink()
    (tmp_path / "folder/inner").rename(tmp_path / "inner")
    (tmp_path / "folder").rmdir()
    (tmp_path / "inner").rename(tmp_path / "folder")
    (tmp_path / "file").mkdir()
    (tmp_path / "file/inner").touch()
    assert inputs.changed() == ["file/inner (new)", "file (1 files removed)", "folder (new)", "folder (removed)"]


def test_outs_of_the_command_inside_a_dep_are_left_out(tmp_path):
    (tmp_path / "data/made").mkdir(parents=True)
    inputs = look(tmp_path, "data", outs=("data/made", "data/metrics.json"))
    (tmp_path / "data/made/out").touch()
    (tmp_path / "data/metrics.json").touch()
    assert inputs.changed() == []
    (tmp_path / "data/made.json").touch()
    assert inputs.changed() == ["data/made.json (new)"]


@pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # of a library of DVC
@pytest.mark.parametrize("kind", ["copy", "hardlink", "symlink", "reflink,copy"])
def test_what_dvc_does_to_its_own_files_is_no_change(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Repo.init(str(tmp_path), no_scm=True).close()
    (tmp_path / ".dvc/config").write_text(f'[core]\n    no_scm = true\n[cache]\n    type = "{kind}"\n')
    (tmp_path / "data").mkdir()
    for number in range(3):
        (tmp_path / f"data/{number}").write_text(f"photo {number}")
    with Repo(str(tmp_path)) as repo:
        repo.add("data")
        inputs = look(tmp_path, "data")
        repo.status()
        repo.checkout()
        repo.commit(force=True)
        assert inputs.changed() == []
    (tmp_path / "data/0").unlink()
    (tmp_path / "data/0").write_text("edited")
    assert inputs.changed() == ["data/0"]
