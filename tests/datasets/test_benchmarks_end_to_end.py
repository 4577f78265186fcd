"""Benchmarks in their own formats through every stage, up to metrics and prediction files; training takes a second."""

import json
import shutil
import sys
from pathlib import Path

import polars as pl
import pytest
from dvc.utils.hydra import apply_overrides
from metric_paths import undescribed
from output_names import unnamed
from written_karpathy import write_karpathy
from written_muge import write_muge

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.cli.prediction_file import check_file
from stages import catalogue, embed, ensemble, evaluate, folds, shards, train

REPO = Path(__file__).parents[2]
SMALL = (
    "data.root=raw", "model.weights_root=data/weights", "model.image.name=data/weights/image",
    "model.text.name=data/weights/text", "model.image.size=32", "model.embedding_dim=16", "plan.folds=[0]",
    "plan.scales=[32]", "train.epochs=2", "train.batch_size=4", "train.precision=fp32", "train.text=random",
    "embed.precision=fp32", "evaluate.bootstrap=100", "shards.size=40", "runtime.workers=1", "train.unfreeze_layers=1",
    "losses.cross_entropy.weight=0", "runtime.device=cpu",
)  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning")


@pytest.fixture
def run(tmp_path, monkeypatch, tiny_image_folder, tiny_text_folder):
    """Return a function that runs all stages up to evaluate in the test's folder with the project's params."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    Path("params.yaml").write_text((REPO / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    for folder in (paths.FEATURES, paths.NO_START, paths.NO_PREDICTIONS):
        folder.mkdir(parents=True)
    for tower, folder in (("image", tiny_image_folder), ("text", tiny_text_folder)):
        shutil.copytree(folder, Path("data/weights", tower))

    def stages(*overrides):
        apply_overrides(Path("params.yaml"), [*SMALL, *overrides])
        for module, arguments in (
            (catalogue, []), (folds, []), (shards, []), (train, ["--fold", "0"]),
            (embed, ["--fold", "0", "--scale", "32"]), (ensemble, []), (evaluate, []),
        ):  # fmt: skip
            monkeypatch.setattr(sys, "argv", ["stage", *arguments])
            module.main()
        return read_object(paths.METRICS)

    return stages


def test_muge_is_evaluated_on_valid_and_predicts_test(tmp_path, run, capsys):
    write_muge(tmp_path / "raw", count=12)
    settings = ("data.reader=muge", "evaluate.protocol=muge", "ensemble.predictions=muge")
    metrics = run(*settings)
    assert list(metrics) == ["data", "oof"]  # test has no answers, so no metrics
    assert undescribed(metrics) == [] and unnamed(tmp_path) == []
    scores = metrics["oof"]["retrieval"]["text_to_image"]
    assert (scores["num_queries"], scores["num_gallery"]) == (3, 12)
    report = check_file(paths.ENSEMBLE / "valid_predictions.jsonl", Path("raw/valid_queries.jsonl"))
    for name in ("R@1", "R@5", "R@10", "MeanRecall"):
        assert f"{name} {100 * scores[name]:.2f} %" in report  # the benchmark's own count
    assert "no answers" in check_file(paths.ENSEMBLE / "test_predictions.jsonl", Path("raw/test_queries.jsonl"))
    assert json.loads((paths.ENSEMBLE / "test_predictions.jsonl").read_text().splitlines()[0])["query_id"] == 8
    printed = capsys.readouterr()
    assert "epoch 1 now image → text R1 R5 R10 mR" in printed.err
    assert "check it with `vitrine check-predictions`" in printed.out


def test_captions_are_counted_by_each_protocol(tmp_path, run, monkeypatch, capsys):
    write_karpathy(tmp_path / "raw")
    metrics = run("data.reader=karpathy", "evaluate.protocol=five_caption")
    assert undescribed(metrics) == []
    scores = metrics["test"]["retrieval"]
    assert (scores["text_to_image"]["num_queries"], scores["text_to_image"]["num_gallery"]) == (10, 2)
    assert (scores["image_to_text"]["num_queries"], scores["image_to_text"]["num_gallery"]) == (2, 10)
    assert scores["sum"] == pytest.approx(6 * scores["total_mR"], abs=1e-5)
    directions = [scores[direction] for direction in ("text_to_image", "image_to_text")]
    assert scores["total_mR"] == pytest.approx(sum(direction["mR"] for direction in directions) / 2, abs=1e-5)
    apply_overrides(Path("params.yaml"), ["evaluate.protocol=row_paired"])
    capsys.readouterr()
    evaluate.main()
    assert "warning: evaluate.protocol = row_paired counts an image's own captions as wrong" in capsys.readouterr().out
    rows = read_object(paths.METRICS)["test"]["retrieval"]
    assert rows["image_to_text"]["num_queries"] == rows["text_to_image"]["num_gallery"] == 10
    assert rows["image_to_text"]["R@1"] == pytest.approx(scores["image_to_text"]["R@1"] / 5, abs=1e-5)
    assert rows["text_to_image"]["R@5"] == pytest.approx(scores["text_to_image"]["R@1"], abs=1e-5)
    assert "total_mR" not in rows
    ranks = pl.read_parquet(paths.EVALUATION / "ranks.parquet")
    assert not ranks.select("split", "direction", "fold", "query_id").is_duplicated().any()
