"""Saved models of one split and used with another, through the stages: refused, or allowed and reported."""

import shutil
import sys
from pathlib import Path

import polars as pl
import pytest
from dvc.utils.hydra import apply_overrides
from metric_paths import undescribed
from output_names import unnamed
from small_shop import SMALL, write_catalogue

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.read import read_json, read_object
from pipeline_lib.experiments.keep import keep, keep_predictions
from pipeline_lib.report.cautions import cautions
from stages import baselines, catalogue, embed, ensemble, evaluate, folds, shards, train

REPO = Path(__file__).parents[2]
OWN = ("split.num_folds=3", "plan.folds=[0]", "plan.features=[]", "runtime.device=cpu")
FIRST, AFTER_FOLDS = (catalogue, folds, shards), (train, embed, ensemble, baselines, evaluate)
ARGUMENTS = {train: ["--fold", "0"], embed: ["--fold", "0", "--scale", "32"]}
START, FUSE = "train.init_from=data/starts/mine", "ensemble.fuse_with=data/predictions/mine"

pytestmark = pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning")


@pytest.fixture
def run(tmp_path, monkeypatch, tiny_image_folder, tiny_text_folder, capsys):
    """A function that changes params and runs stages; it returns what a refused stage printed, else an empty text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    Path("params.yaml").write_text((REPO / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    for folder in (paths.FEATURES, paths.NO_START, paths.NO_PREDICTIONS, paths.NO_SPLIT):
        folder.mkdir(parents=True)
    write_catalogue(Path("data/raw/shop"))
    for tower, folder in (("image", tiny_image_folder), ("text", tiny_text_folder)):
        shutil.copytree(folder, Path("data/weights", tower))
    apply_overrides(Path("params.yaml"), [*SMALL, *OWN])

    def stages(modules, *overrides):
        apply_overrides(Path("params.yaml"), list(overrides))
        for module in modules:
            monkeypatch.setattr(sys, "argv", ["stage", *ARGUMENTS.get(module, [])])
            capsys.readouterr()
            try:
                module.main()
            except SystemExit:
                return capsys.readouterr().err
        return ""

    return stages


def places():
    table = pl.read_parquet(paths.FOLDS / "folds.parquet")
    return {key: (split, fold) for key, split, fold in table.iter_rows()}


def test_models_and_predictions_of_another_split_are_refused_or_reported(run):
    assert run([*FIRST, *AFTER_FOLDS]) == ""
    assert "seen" not in read_object(paths.METRICS)
    keep("workspace", "mine"), keep_predictions(["workspace"], "mine")
    trained = {key for key, place in places().items() if place not in [("train", 0), ("test", None)]}
    assert run([folds, *AFTER_FOLDS], START, FUSE) == ""
    assert "seen" not in read_object(paths.METRICS)
    assert "data/starts/mine/0 was trained on 0 of" in read_object(paths.train_of(0) / "trainable.json")["seen"][0]

    # The stage train refuses predictions that cannot be fused: the stage folds does not run again for a new folder.
    classes = paths.PREDICTIONS / "mine/workspace/classes.json"
    text = classes.read_text(encoding="utf-8")
    write_json(classes, [*read_json(classes, list[str])[1:], "sofa"])
    model = (paths.train_of(0) / "model.json").stat().st_mtime_ns
    for stage in (folds, train):
        assert f": error: {classes}: its " in (printed := run([stage])) and printed.count("\n") == 1
    assert (paths.train_of(0) / "model.json").stat().st_mtime_ns == model
    classes.write_text(text, encoding="utf-8")

    refused = run([folds], "split.seed=8")
    now = places()
    counts = {
        split: (sum(now[key] == place for key in trained), sum(value == place for value in now.values()))
        for split, place in (("oof", ("train", 0)), ("test", ("test", None)))
    }
    words = "was trained on {} of {} held-out and {} of {} test products".format(*counts["oof"], *counts["test"])
    assert counts["oof"][0] >= 5 and counts["test"][0] >= 3
    assert refused.strip().splitlines() == [
        f"stages.folds: error: train.init_from: data/starts/mine/0 {words} that fold 0 is measured on; use a model of "
        "these folds (split.assignment keeps folds), or write train.allow_seen: true, which metrics.json and the "
        "report then say"
    ]
    assert f"stages.train: error: train.init_from: data/starts/mine/0 {words}" in run(
        [train], "ensemble.fuse_with=data/predictions/none"
    )

    assert run([folds, train, embed], "train.allow_seen=true", "embed.interpolation=0.5") == ""
    report = read_object(paths.train_of(0) / "trainable.json")
    assert report["warnings"][0] == f"train.init_from: data/starts/mine/0 {words} (train.allow_seen)"
    assert run([ensemble, evaluate]) == ""
    seen = {split: {"trained_on": some, "products": all_} for split, (some, all_) in counts.items()}
    assert read_object(paths.METRICS)["seen"] == seen
    assert undescribed(read_object(paths.METRICS)) == [] and unnamed(Path()) == []
    first = cautions(read_object(paths.METRICS), read_object(paths.INTERVALS))[0]
    assert first.startswith(f"Test: a model was trained on {counts['test'][0]} of the {counts['test'][1]} products")

    # What a start has seen is handed on: the new model is refused as well where its start would be.
    keep("workspace", "second")
    refused = run([folds], "train.allow_seen=false", "train.init_from=data/starts/second")
    assert f"train.init_from: data/starts/second/0 {words}" in refused
