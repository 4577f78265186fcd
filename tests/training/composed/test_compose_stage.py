"""The stage compose and, behind it, ensemble and evaluate in a project that trains nothing else: a benchmark's."""

import shutil
import sys
from pathlib import Path

import polars as pl
import pytest
from composed_project import ROOT, make_tables, write_composed_project
from dvc.utils.hydra import apply_overrides
from embedded_project import write_model_card
from machine_names import files_in, naming
from measured import measure
from metric_paths import undescribed
from output_names import unnamed

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.params.model import ImageTowerParams, TextTowerParams, UntrainedImage, UntrainedText
from pipeline_lib.params.section import load_params
from pipeline_lib.towers.kinds import resolve_image_tower, resolve_text_tower
from pipeline_lib.towers.tower import TowerIdentity
from stages import compose, ensemble

SMALL = (
    "plan.composed=[sum]", "plan.folds=[0,1]", "plan.scales=[64]", "plan.search=[]", "split.num_folds=2",
    "train.epochs=0", "composed.epochs=1", "composed.embedding_dim=16", "composed.precision=fp32",
    "composed.batch_size=32", "features.trunk.at=tokens", "evaluate.bootstrap=100", "runtime.device=cpu",
)  # fmt: skip


@pytest.fixture
def project(tmp_path, monkeypatch, tiny_image_folder, tiny_text_folder):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("VITRINE_LAUNCH", raising=False)
    for name in ("pipeline_lib", "stages"):
        Path(name).symlink_to(ROOT / name)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    for tower, folder in (("image", tiny_image_folder), ("text", tiny_text_folder)):
        shutil.copytree(folder, Path("data/weights", tower))
    towers = ("model.image.name=data/weights/image", "model.text.name=data/weights/text")
    apply_overrides("params.yaml", [*SMALL, *towers, "model.weights_root=data/weights"])
    model = load_params()["model"]
    sources = {
        "image": resolve_image_tower(UntrainedImage(ImageTowerParams(**model["image"]), "late")),
        "text": resolve_text_tower(UntrainedText(TextTowerParams(**model["text"]), "late")),
    }
    write_composed_project(paths.WORK, num_shapes=6, sources=sources)
    counts = {"products": 30, "queries": 0, "composed": {"queries": 144}, "rejected": 0, "classes": 0}
    write_json(paths.CATALOGUE / "counts.json", counts | {"reasons": {}, "columns": {}, "groups": {}})
    write_json(paths.FOLDS / "groups.json", {})
    slices = pl.DataFrame(schema={"query_id": pl.String, "slice": pl.String})
    slices.write_parquet(paths.CATALOGUE / "query_slices.parquet")
    paths.NO_PREDICTIONS.mkdir(parents=True)
    for fold in (0, 1):
        write_model_card(paths.train_of(fold), fold)
        paths.embed_of(fold, 64).mkdir(parents=True)


def run(monkeypatch, kind, fold):
    monkeypatch.setattr(sys, "argv", ["stages.compose", "--kind", kind, "--fold", str(fold)])
    compose.main()


def test_the_weights_of_the_towers_are_hashed_and_not_held(project, monkeypatch):
    """The towers do not run: what was stored of them is read, and their hash says that it is of these weights."""
    found = {}
    monkeypatch.setattr(
        "pipeline_lib.training.composed.fold.train_composed", lambda config, *_: found.update(config.sources)
    )
    run(monkeypatch, "sum", 0)
    model = load_params()["model"]
    expected = {
        "image": resolve_image_tower(UntrainedImage(ImageTowerParams(**model["image"]), "late")).fingerprint,
        "text": resolve_text_tower(UntrainedText(TextTowerParams(**model["text"]), "late")).fingerprint,
    }
    assert {name: type(one) for name, one in found.items()} == dict.fromkeys(expected, TowerIdentity)
    assert {name: one.fingerprint for name, one in found.items()} == expected


def test_a_project_of_composed_queries_alone_ends_with_figures(other_machine, project, monkeypatch, capsys):
    for fold in (0, 1):
        run(monkeypatch, "sum", fold)
    ensemble.main()
    measure()
    figures, intervals = read_object(paths.METRICS), read_object(paths.INTERVALS)
    assert set(figures) == {"composed", "data"}
    for kind in ("sum", "image_only"):
        for split in ("oof", "test"):
            own = figures["composed"][kind][split]
            low, high = intervals["composed"][kind][split]["R@1"]
            assert low <= own["R@1"] <= high and 0 < own["chance"]["R@1"] <= 0.25
    queries = make_tables(6)["queries"].height
    assert sum(figures["composed"]["sum"][split]["num_queries"] for split in ("oof", "test")) < queries
    assert "text_only, sum_untrained are left out" in capsys.readouterr().out
    ranks = pl.read_parquet(paths.EVALUATION / "ranks.parquet")
    assert {"composed_sum", "composed_sum_subset"} <= set(ranks["direction"])
    run(monkeypatch, "q_former", 0)
    made = [*files_in(paths.COMPOSED), *files_in(paths.EVALUATION), paths.METRICS, paths.INTERVALS]
    assert any("q_former" in str(path) for path in made) and not naming(made, str(Path.cwd()))
    assert undescribed(figures) == [] and unnamed(Path()) == []


def test_another_tower_than_the_stored_one_stops_the_stage_with_one_line(project, monkeypatch, capsys):
    apply_overrides("params.yaml", ["model.image.size=48"])
    with pytest.raises(SystemExit):
        run(monkeypatch, "sum", 0)
    assert "image: made by" in capsys.readouterr().err
    assert not paths.composed_of("sum", 0).exists()
