"""The guard of every stage refuses code or params that changed meanwhile; a closure is what an import can reach."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.execution.import_closure import import_closure
from pipeline_lib.execution.stage import Stage
from pipeline_lib.execution.stage_code import list_code, write_code
from pipeline_lib.params.split import SplitParams

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path):
    for name in ("pipeline_lib", "stages"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "old", "new", "text"),
    [
        ("params.yaml", "test_fraction: 0.2", "test_fraction: 0.3", "split changed while the stage ran"),
        (
            "pipeline_lib/splitting/folds.py",
            "import polars",
            "import  polars",
            "pipeline_lib/splitting/folds.py changed while the stage ran",
        ),
        ("params.yaml", "quality: 92", "quality: 91", None),
        ("pipeline_lib/losses/info_nce.py", "import torch", "import  torch", None),
    ],
)
def test_what_the_stage_reads_must_not_change_while_it_runs(project, file, old, new, text):
    run = Stage("stages.folds", project)
    run.section(SplitParams)
    before = (project / file).read_text()
    assert old in before
    (project / file).write_text(before.replace(old, new))
    if text is None:
        run.check_unchanged()
    else:
        with pytest.raises(ValueError, match=text):
            run.check_unchanged()


def listed(project: Path) -> Path:
    """Write the list of the stage `folds` as the stage `code` does."""
    folder = project / paths.CODE
    folder.mkdir(parents=True)
    write_code("stages.folds", folder, project)
    return folder / "folds.txt"


def test_the_list_of_code_can_be_checked_by_sha256sum(project):
    file = listed(project)
    done = subprocess.run(["sha256sum", "--check", "--quiet", file], cwd=project, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert len(file.read_text().splitlines()) == len(list_code("stages.folds", project)) > 5


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("pipeline_lib/splitting/stratify.py", True),
        ("pipeline_lib/execution/threads.py", False),
        ("pipeline_lib/losses/info_nce.py", False),
    ],
)
def test_a_stage_whose_code_changed_after_its_list_does_not_start(project, name, refused):
    """DVC would record the outs of the new code under the list of the old one."""
    listed(project)
    Stage("stages.folds", project).check_unchanged()
    with (project / name).open("a") as file:
        file.write("# edited\n")
    if refused:
        with pytest.raises(ValueError, match=f"{name} changed after the stage `code` had listed it; run `dvc repro`"):
            Stage("stages.folds", project)
    else:
        Stage("stages.folds", project).check_unchanged()


def test_a_listed_file_that_was_removed_is_named(project):
    listed(project)
    (project / "pipeline_lib/splitting/stratify.py").unlink()
    with pytest.raises(ValueError, match="stratify.py changed after the stage"):
        Stage("stages.folds", project)


def test_an_edit_changes_the_lists_of_the_stages_that_import_it_alone(project):
    before = {name: list_code(f"stages.{name}", project) for name in ("folds", "train", "report")}
    with (project / "pipeline_lib/losses/info_nce.py").open("a") as file:
        file.write("# edited\n")
    with (project / "pipeline_lib/report/page.css").open("a") as file:
        file.write("/* edited */\n")
    assert {name for name, code in before.items() if list_code(f"stages.{name}", project) != code} == {
        "train",
        "report",
    }


def test_a_closure_follows_imports_only():
    names = {path.relative_to(ROOT).as_posix() for path in import_closure("stages.folds", ROOT)}
    assert "pipeline_lib/splitting/stratify.py" in names
    assert not [name for name in names if name.startswith(("pipeline_lib/losses", "pipeline_lib/models"))]


def test_an_incomplete_folder_never_replaces_a_complete_one(tmp_path):
    out = tmp_path / "out"
    with fresh_folder(out) as folder:
        (folder / "a").write_text("1")
    with pytest.raises(RuntimeError), fresh_folder(out) as folder:
        (folder / "a").write_text("2")
        raise RuntimeError
    assert (out / "a").read_text() == "1"


@pytest.mark.parametrize("path", sorted((ROOT / "stages").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_ctrl_c_during_the_imports_of_a_stage_is_one_line(path, tmp_path):
    """In place of the first libraries that a stage imports: modules that are interrupted."""
    for name in ("polars", "pydantic", "psutil"):
        (tmp_path / f"{name}.py").write_text("raise KeyboardInterrupt\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", f"stages.{path.stem}"], cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "VITRINE_FORKSERVER": "0"},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "interrupted (SIGINT)\n")
