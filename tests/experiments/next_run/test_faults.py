"""The fault for which the next run would stop, beside a catalogue that it leaves as it is."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import write_json
from pipeline_lib.experiments.next_run.faults import COUNTS, first_fault
from pipeline_lib.experiments.next_run.forecast import forecast
from pipeline_lib.experiments.next_run.status import Reason, StageStatus
from pipeline_lib.params import all_sections
from pipeline_lib.params.section import load_params

ROOT = Path(__file__).parents[3]


@pytest.fixture
def params(tmp_path, monkeypatch):
    """The params of this project, in a folder whose catalogue has products without a label."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(all_sections, "check_project", lambda params, path: None)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    COUNTS.parent.mkdir(parents=True)
    write_json(COUNTS, {"products": 10, "queries": 10, "classes": 0, "composed": {}})
    return load_params()


def fault(params, *names, runs=()):
    reasons = {name: [Reason("x changed")] for name in runs}
    statuses = [StageStatus(name, name, names[:place], reasons.get(name, [])) for place, name in enumerate(names)]
    return first_fault(params, statuses, forecast(statuses, [], params, None))


def test_params_are_compared_with_the_catalogue_that_the_run_leaves_as_it_is(params):
    line = "params.yaml: losses.cross_entropy needs classes to tell apart, but the catalogue has 0; name the column"
    for runs in ([], ["train"]):
        assert fault(params, "catalogue", "train", runs=runs).startswith(line)
    assert fault(params, "catalogue", "train", runs=["catalogue"]) is None
    assert fault(params, "frames", "catalogue", runs=["frames"]) is None  # the clips may bring another one
    assert fault(params, "products") is None
    COUNTS.unlink()
    assert fault(params, "catalogue", "train") is None


def test_what_is_fused_is_compared_with_the_folds_that_the_run_leaves_as_they_are(params):
    write_json(COUNTS, {"products": 2, "queries": 2, "classes": 2, "composed": {}})
    folder = paths.PREDICTIONS / "mine/other"
    folder.mkdir(parents=True)
    params["ensemble"]["fuse_with"] = folder.parent.as_posix()
    assert fault(params, "catalogue", "folds", "train") is None  # no folds yet
    paths.FOLDS.mkdir(parents=True)
    rows = {"product_id": ["a", "b"], "label": ["cup", "hat"]}
    pl.DataFrame(rows).write_parquet(paths.CATALOGUE / "products.parquet")
    places = {"split": ["train", "train"], "fold": [0, 1]}
    pl.DataFrame({"product_id": rows["product_id"], **places}).write_parquet(paths.FOLDS / "folds.parquet")
    line = f"{folder}/probabilities.parquet: no such file; `vitrine keep-predictions` writes a complete folder"
    assert fault(params, "catalogue", "folds", "train", runs=["train"]) == line
    assert fault(params, "catalogue", "folds", "train", runs=["folds"]) is None
    assert fault(params, "catalogue", "folds", "train", runs=["catalogue"]) is None
    params["ensemble"]["fuse_with"] = paths.NO_PREDICTIONS.as_posix()
    assert fault(params, "catalogue", "folds", "train") is None


def test_a_fault_of_the_params_alone_comes_first(params, monkeypatch):
    def check(params, path):
        raise ValueError(f"{path}: one line")

    monkeypatch.setattr(all_sections, "check_project", check)
    assert fault(params, "catalogue", "train") == "params.yaml: one line"
