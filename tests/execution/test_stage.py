"""The guard of every stage refuses code or params that changed meanwhile; a closure is what an import can reach."""

import shutil
from pathlib import Path

import pytest

from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.execution.import_closure import import_closure
from pipeline_lib.execution.stage import Stage
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
        ("pipeline_lib/splitting/folds.py", "import polars", "import  polars", "the code changed while the stage ran"),
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
