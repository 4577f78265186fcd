"""`dvc repro` makes the part of the sample that data.root names, and no other."""

import shutil
from pathlib import Path

import networkx
import pytest
from dvc.repo import Repo
from dvc.utils.hydra import apply_overrides

REPO = Path(__file__).parents[2]
FILES = ("dvc.yaml", "params.yaml", "data/sample/dvc.yaml", "data/sample/params.yaml")
CLIPS = ("data.reader=captions_csv", "plan.frames=[clips]", "model.text.name=data/sample/weights/clip_text")


@pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # of a library of DVC
@pytest.mark.parametrize(("part", "settings"), [("products", ()), ("clips", CLIPS), ("composed", ())])
def test_the_pipeline_makes_only_the_part_of_the_sample_that_its_settings_name(tmp_path, part, settings, monkeypatch):
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    apply_overrides("params.yaml", [f"data.root=data/sample/{part}", *settings])
    Repo.init(str(tmp_path), no_scm=True).close()
    with Repo(str(tmp_path)) as repo:
        graph = repo.index.graph
        own = [stage for stage in graph if stage.path == str(tmp_path / "dvc.yaml")]
        needed = set(own).union(*(networkx.descendants(graph, stage) for stage in own))
        run = {stage.name for stage in needed if stage.path == str(tmp_path / "data/sample/dvc.yaml")}
        offered = {stage.name for stage in graph if stage.path == str(tmp_path / "data/sample/dvc.yaml")}
    assert {"products", "composed", "clips"} < offered
    assert run == {part, "weights"} and len(own) > 8
