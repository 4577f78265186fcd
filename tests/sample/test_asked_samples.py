"""`dvc repro` makes the part of the sample that data.root names, and no other."""

import shutil
from pathlib import Path

import networkx
import pytest
from dvc.repo import Repo
from dvc.utils.hydra import apply_overrides

REPO = Path(__file__).parents[2]
FILES = ("dvc.yaml", "params.yaml", "data/sample/dvc.yaml", "data/sample/params.yaml")
WEIGHTS = "data/sample/clip_weights"
CLIPS = ("data.reader=captions_csv", "plan.frames=[clips]", f"model.weights_root={WEIGHTS}",
         f"model.image.name={WEIGHTS}/image", f"model.text.name={WEIGHTS}/text")  # fmt: skip


@pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # of a library of DVC
@pytest.mark.parametrize(
    ("part", "settings", "weights"),
    [("products", (), {"weights"}), ("composed", (), {"weights"}), ("clips", CLIPS, {"weights", "clip_weights"})],
)
def test_the_pipeline_makes_only_the_part_of_the_sample_that_its_settings_name(
    tmp_path, part, settings, weights, monkeypatch
):
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
    assert {"products", "composed", "clips", "clip_weights"} < offered
    assert run == {part} | weights and len(own) > 8
