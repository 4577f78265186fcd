"""`train_fold` on tiny towers: frozen layers, learning, stored features, resumption, early stop, errors."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from forked import forked
from safetensors.torch import load_file, save_file
from tiny_project import make_settings, write_project
from watched_run import first_weights, run

from pipeline_lib.artifacts.read import read_object
from pipeline_lib.execution import locks
from pipeline_lib.execution.forkserver import SWITCH
from pipeline_lib.features.inputs import ExtractionInputs, ExtractionRun
from pipeline_lib.features.trunk import extract_trunk
from pipeline_lib.inference.engine import InferenceEngine
from pipeline_lib.losses.build import LOSSES
from pipeline_lib.models.saved import load_model, read_state
from pipeline_lib.params.model import ModelParams
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.training.fold_data import read_fold
from pipeline_lib.training.history import History

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning"),
    pytest.mark.usefixtures("isolated"),
]


@pytest.fixture
def inputs(tmp_path):
    return write_project(tmp_path / "project")


def test_only_open_groups_change_and_all_of_them_do(inputs, towers):
    settings = make_settings(*towers, unfreeze_layers=2)
    out = run(settings, inputs, "out")
    after = read_state(out)
    first = first_weights(settings)
    model = load_model(out).model
    for name, tower in model.towers().items():
        groups = tower.layer_groups()
        for group in groups[:-2]:
            assert all(torch.equal(first[f"{name}.{key}"], after[f"{name}.{key}"]) for key in group.parameters)
        for group in groups[-2:]:
            assert any(not torch.equal(first[f"{name}.{key}"], after[f"{name}.{key}"]) for key in group.parameters)


def test_training_learns_the_classes(inputs, towers):
    settings = make_settings(*towers, unfreeze_layers="all", epochs=12, best_metric="top1", tower_lr=3e-3)
    card = read_object(run(settings, inputs, "out") / "model.json")
    assert card["run"]["best"]["top1"] >= 0.9
    assert card["description"]["classes"] == ["hat", "mug"]


def test_the_trainable_report_counts_every_parameter(inputs, towers):
    out = run(make_settings(*towers, epochs=1), inputs, "out")
    report = read_object(out / "trainable.json")
    model = load_model(out).model
    assert sum(row["total"] for row in report["towers"]) == sum(value.numel() for value in model.parameters())
    text = next(row for row in report["towers"] if row["tower"] == "text")
    assert [group["trainable"] for group in text["groups"]] == [False, False, True, True]
    assert [group["lr"] for group in text["groups"]] == [0, 0, 1e-3, 1e-3]


def test_stored_features_train_as_the_trunk_does(inputs, towers):
    """Frozen towers and a fixed view: the losses with the store equal those without, up to rounding."""
    settings = make_settings(*towers, unfreeze_layers=0)
    plain = run(settings, inputs, "plain")
    texts = ["", *read_fold(inputs, 0, True).training.texts, *read_fold(inputs, 0, True).held_out.texts]
    manifest = Manifest(inputs.shards)
    photos = pl.read_parquet(inputs.shards / "manifest.parquet")
    sources = resolve_towers(settings.model)
    extraction = ExtractionRun(InferenceEngine("cpu", 16, 0, "fp32"), "float32")
    extract_trunk(sources, ExtractionInputs(ShardReader(manifest), photos, texts), inputs.trunk, extraction)
    stored = run(settings, inputs, "stored")
    assert read_object(stored / "model.json")["run"]["stored_features"]
    assert not read_object(plain / "model.json")["run"]["stored_features"]
    rows = [np.genfromtxt(out / "history.csv", delimiter=",", names=True) for out in (plain, stored)]
    for name in ("info_nce", "cross_entropy", "val_loss"):
        assert np.allclose(rows[0][name], rows[1][name], rtol=1e-3), name


def test_a_store_of_other_towers_is_refused(inputs, towers):
    settings = make_settings(*towers, unfreeze_layers=0)
    sources = resolve_towers(settings.model)
    manifest = Manifest(inputs.shards)
    photos = pl.read_parquet(inputs.shards / "manifest.parquet")
    engine = InferenceEngine("cpu", 16, 0, "fp32")
    extracted = ExtractionInputs(ShardReader(manifest), photos, ["a"])
    extract_trunk(sources, extracted, inputs.trunk, ExtractionRun(engine, "float16"))
    other = settings.model.model_dump()
    other["image"]["size"] = 40
    changed = make_settings(*towers, unfreeze_layers=0)
    object.__setattr__(changed, "model", ModelParams.model_validate(other))
    with pytest.raises(ValueError, match=r"features/trunk/image: made by encoder \w+, but \w+ is expected"):
        run(changed, inputs, "out")


def test_a_killed_run_resumes_to_the_result_of_an_uninterrupted_one(inputs, towers, tmp_path, fork_server):
    """kill -9 in the first, second and third epoch; history and weights are bit-equal on one thread."""
    project = [str(path) for path in (inputs.catalogue.parent, *towers)]
    parents = Path(__file__).parents
    path = os.pathsep.join(str(folder) for folder in (parents[2], parents[1] / "support"))
    environment = os.environ | {"PYTHONPATH": path, SWITCH: str(fork_server)}

    def train(out, kill_at, fingerprint):
        command = [*forked("killed_training"), *project, out, str(kill_at), fingerprint]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    uninterrupted = train("uninterrupted", -1, "a")
    assert uninterrupted.returncode == 0, uninterrupted.stderr
    for number, kill_at in enumerate((2, 4, 2)):
        assert train(f"killed{number}", kill_at, "b").returncode == -9
    resumed = train("resumed", -1, "b")
    assert resumed.returncode == 0, resumed.stderr
    for file in ("history.csv", "model.safetensors", "trainable.json"):
        assert Path("uninterrupted", file).read_bytes() == Path("resumed", file).read_bytes(), file


def test_a_loss_that_is_not_finite_stops_the_run_with_all_losses(inputs, towers, monkeypatch):
    calls, closed = [], []
    monkeypatch.setattr(History, "close", lambda history: closed.append(history))

    def broken(outputs, batch):
        calls.append(1)
        return outputs.class_logits.sum() * (float("nan") if len(calls) == 2 else 1.0)

    monkeypatch.setitem(LOSSES, "cross_entropy", lambda params, class_counts: broken)
    with pytest.raises(
        ValueError, match=r"not finite at epoch 0, batch 1: info_nce [\d.]+, cross_entropy nan, total nan"
    ):
        run(make_settings(*towers), inputs, "out")
    assert len(closed) == 1


def test_an_early_stop_saves_the_best_epoch(inputs, towers):
    settings = make_settings(*towers, epochs=30, patience=1, best_metric="loss", head_lr=0.3)
    out = run(settings, inputs, "out")
    rows = np.genfromtxt(out / "history.csv", delimiter=",", names=True)
    best = read_object(out / "model.json")["run"]["best_epoch"]
    assert best == int(np.argmin(rows["val_loss"]))
    assert len(rows) == best + 2 < 30


def test_only_one_process_may_train_a_run(inputs, towers, monkeypatch):
    from pipeline_lib.execution.checkpoint import CheckpointFolder

    monkeypatch.setattr(locks, "WAIT_SECONDS", 0.3)
    refused = pytest.raises(ValueError, match=r"process \d+ does the same run")
    with CheckpointFolder("out"), refused:
        run(make_settings(*towers), inputs, "out")


@pytest.mark.parametrize(
    ("changes", "fold", "text"),
    [
        ({"info_nce": 0.0, "best_metric": "MeanRecall"}, 0, "best_metric = 'MeanRecall', but this run measures only"),
        ({}, 7, r"fold 7: no product is held out; the products are in folds \[0, 1, 2\]"),
    ],
)
def test_a_run_that_cannot_be_trained_is_refused(inputs, towers, changes, fold, text):
    with pytest.raises(ValueError, match=text):
        run(make_settings(*towers, **changes), inputs, "out", fold=fold)


def test_a_text_tower_that_gives_all_texts_one_vector_stops_the_run_before_its_first_step(inputs, towers, tmp_path):
    """Its attention adds nothing, so the first token, which is the same in every text, stays as it is."""
    image, text = towers
    folder = shutil.copytree(text, tmp_path / "deaf")
    state = load_file(folder / "model.safetensors")
    deaf = {name: torch.zeros_like(value) for name, value in state.items() if "attention.output.dense" in name}
    save_file({**state, **deaf}, folder / "model.safetensors")
    settings = make_settings(image, folder)
    values = settings.model.model_dump()
    values["text"]["pooling"] = "cls"
    object.__setattr__(settings, "model", ModelParams.model_validate(values))
    with pytest.raises(ValueError, match="model.text.pooling = 'cls': the text tower gives .* the same vector .*; set"):
        run(settings, inputs, "out")
    assert not Path("out/history.csv").exists()


def test_accumulation_uses_every_product_once_an_epoch(inputs, towers):
    """Three batches of 8 are the one step of an epoch of 24 products."""
    only = {"info_nce": 0.0, "unfreeze_layers": 0, "epochs": 1, "clip_norm": 0.0, "photo": "first"}
    small = run(make_settings(*towers, **only, batch_size=8, accumulate=3), inputs, "small")
    rows = np.genfromtxt(small / "history.csv", delimiter=",", names=True)
    assert rows["lr"] == pytest.approx(1e-2)  # the one step ends the warm-up


def test_random_texts_train_on_every_query_and_first_texts_on_none(inputs, towers):
    """Each product has a second caption: `random` trains on both in two epochs, `first` on the product's own text."""
    queries = pl.read_parquet(inputs.catalogue / "queries.parquet").with_columns(split=pl.lit(None, pl.String))
    relevance = pl.read_parquet(inputs.catalogue / "relevance.parquet").with_columns(grade=pl.lit(1))
    ids = [f"p{number}" for number in range(36)]
    more = pl.DataFrame(
        {"query_id": [f"more {key}" for key in ids], "kind": "text", "text": [f"lamp {k}" for k in ids]}
    )
    pl.concat([queries, more.with_columns(split=pl.lit(None, pl.String))]).write_parquet(
        inputs.catalogue / "queries.parquet"
    )
    pairs = pl.DataFrame({"query_id": more["query_id"], "product_id": ids, "grade": [1] * 36})
    pl.concat([relevance, pairs], how="vertical_relaxed").write_parquet(inputs.catalogue / "relevance.parquet")
    settings = make_settings(*towers, text="random", epochs=2)
    data = read_fold(inputs, 0, True, captions=True)
    assert (np.diff(data.training.captions.offsets) >= 1).all() and len(data.training.captions.text) > len(
        data.training
    )
    assert read_fold(inputs, 0, True).training.captions is None
    losses = []
    for name, one in (("random", settings), ("first", make_settings(*towers, epochs=2))):
        rows = np.genfromtxt(run(one, inputs, name) / "history.csv", delimiter=",", names=True)
        losses.append(rows["info_nce"].tolist())
    assert losses[0] != losses[1] and np.isfinite(losses).all()
