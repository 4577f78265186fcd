"""Composed training end to end on made features: it learns, resumes bit for bit, and writes what evaluation reads."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from composed_project import composed_config, write_composed_project
from safetensors.torch import load_file

from pipeline_lib.artifacts.io import read_json
from pipeline_lib.models.composed.saved import load_composed
from pipeline_lib.splitting.seen import read_model_seen
from pipeline_lib.stores.store import open_store
from pipeline_lib.training.composed.fold import train_composed
from pipeline_lib.training.composed.trainer import ComposedTrainer


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_composed_project(tmp_path_factory.mktemp("composed"))


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))


def run(folders, name: str, kind: str = "sum", fingerprint: str | None = None, **changes) -> Path:
    out = Path(name)
    out.mkdir()
    train_composed(composed_config(kind, **changes), folders, 0, fingerprint or name, out)
    return out


def best(out: Path) -> dict:
    return read_json(out / "model.json")["run"]["best"]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("sum", {}),
        ("combiner", {}),
        ("q_former", {"epochs": 6}),
        ("sum", {"fusion": "gated", "losses": {"patch_contrast": 0.2}}),
        ("sum", {"mining": "hard"}),
    ],
)
def test_training_beats_the_initial_weights(folders, kind, changes):
    untrained, trained = run(folders, "untrained", kind, **changes | {"epochs": 0}), run(folders, "t", kind, **changes)
    assert best(trained)["R@5"] > best(untrained)["R@5"] + 0.15
    assert read_json(untrained / "model.json")["run"]["best_epoch"] == 0
    assert pl.read_csv(trained / "history.csv").height == changes.get("epochs", 3)
