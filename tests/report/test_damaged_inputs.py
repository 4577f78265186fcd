"""Each file that the report and the figures read: damaged in any way it is one line with its name."""

import shutil

import pytest
from damages import GROSS, refused_damages

from pipeline_lib.artifacts import paths
from pipeline_lib.evaluation import embedding_space
from pipeline_lib.evaluation.baselines.trunk_features import why_apart
from pipeline_lib.evaluation.summary import data_counts
from pipeline_lib.report.inputs import read_inputs

WORK = ("train/0", "catalogue", "folds", "ensemble", "evaluation", "features/trunk")
READERS = {
    "report": lambda: read_inputs([0]),
    "counts": lambda: data_counts(paths.CATALOGUE, paths.FOLDS),
    "rankings": lambda: embedding_space._found(),
    "joint space": lambda: why_apart(paths.features_of("trunk")),
}
# How many files each reads at least.
NUM_FILES = {"report": 20, "counts": 2, "rankings": 1, "joint space": 1}


@pytest.fixture
def outs(built_project, tmp_path, monkeypatch):
    """Change to a folder with copies of the outs that the readers need."""
    monkeypatch.chdir(tmp_path)
    for name in WORK:
        shutil.copytree(built_project.folder / paths.WORK / name, paths.WORK / name)
    shutil.copytree(built_project.folder / paths.REPORTS, paths.REPORTS)
    return [path for folder in (paths.WORK, paths.REPORTS) for path in sorted(folder.rglob("*")) if path.is_file()]


@pytest.mark.parametrize("reader", READERS)
def test_a_damaged_file_is_one_line_with_its_name(outs, reader):
    small = [file for file in outs if file.suffix not in (".safetensors", ".npy", ".html", ".svg")]
    refused, _ = refused_damages(small, READERS[reader], GROSS)
    assert len({file for file, _ in refused}) >= NUM_FILES[reader], refused
