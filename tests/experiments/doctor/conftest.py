"""The project that tests of `vitrine doctor` break or change."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path) -> Path:
    """The project's own files, with small weights, and no run."""
    for name in ("params.yaml", "dvc.yaml", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    (tmp_path / "data/predictions/none").mkdir(parents=True)
    (tmp_path / "data/splits/none").mkdir(parents=True)
    (tmp_path / "data/starts/none").mkdir(parents=True)
    (tmp_path / "data/sample").mkdir()
    shutil.copy(ROOT / "data/sample/dvc.yaml", tmp_path / "data/sample")
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=tmp_path, check=True)
    return tmp_path
