"""Settings that were changed after a run: those of the stages that its figures follow from, and of no other."""

import json
import shutil
from pathlib import Path

import pytest
from quick_dvc import run_dvc

from pipeline_lib.experiments.unrun import changed_settings, changes_of, planned_stages
from pipeline_lib.params.section import load_params

ROOT = Path(__file__).parents[2]
# DVC reads a deprecated value of pygtrie while it builds the graph.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")

PIPELINE = {
    "stages": {
        "train": {"matrix": {"fold": "${plan.folds}"}},
        "evaluate": {},
        "index": {},
        "report": {},
    }
}
PARAMS = {
    "train": {"epochs": 9, "lr": 0.1, "schedule": [{"epoch": 1}]},
    "evaluate": {"seed": 7},
    "report": {"misses": 12},
    "index": {"lists": 64},
    "plan": {"folds": [0, 1]},
    "runtime": {"workers": 2},
}

YAML = """schema: '2.0'
stages:
  train@0:
    deps:
    - path: data/raw
      md5: 0123
    params:
      params.yaml:
        train:
          epochs: 8
    outs:
    - path: data/work/train/0
  evaluate:
    deps:
    - path: data/work/train
    outs:
    - path: reports/metrics.json
"""
CUT = "stages:\n  evaluate:\n    outs: [{path: reports/metrics.json}]\n"


def entry(deps, outs, **settings):
    params = {"params.yaml": {key.replace("__", "."): value for key, value in settings.items()}}
    return {"deps": [{"path": path} for path in deps], "outs": [{"path": path} for path in outs], "params": params}


def lock():
    """The lock of a run with PARAMS; fold 2 was trained long before, with other settings."""
    trained = PARAMS["train"]
    return {
        "stages": {
            "train@0": entry(["data/raw"], ["data/work/train/0"], train=trained),
            "train@1": entry(["data/raw"], ["data/work/train/1"], train=trained),
            "train@2": entry(["data/raw"], ["data/work/train/2"], train={**trained, "epochs": 1}),
            "index": entry(["data/work/train/0"], ["data/work/index"], index=PARAMS["index"]),
            "evaluate": entry(
                ["data/work/train"], ["data/work/evaluation", "reports/metrics.json"],
                evaluate__seed=7, plan__folds=[0, 1],
            ),
            "report": entry(["reports/metrics.json"], ["reports/index.html"], report=PARAMS["report"]),
        }
    }  # fmt: skip


def changed(section, **values):
    return changed_settings({**PARAMS, section: {**PARAMS[section], **values}}, PIPELINE, lock())


def test_only_settings_that_the_figures_follow_from_count():
    assert changed("train") == []
    assert changed("train", epochs=3, lr=0.2) == ["train.epochs", "train.lr"]
    assert changed("train", schedule=[]) == ["train.schedule"]
    assert changed("train", new=1) == ["train.new"]
    assert changed("evaluate", seed=8) == ["evaluate.seed"]
    for section, key in (("report", "misses"), ("index", "lists"), ("runtime", "workers")):
        assert changed(section, **{key: 1}) == []
    # A fold that joins the plan changes plan.folds, and brings what it was trained with.
    assert set(changed("plan", folds=[0, 1, 2])) == {"plan.folds", "train.epochs"}
    assert changed_settings({**PARAMS, "evaluate": {}}, PIPELINE, lock()) == ["evaluate.seed"]


def test_a_project_without_a_known_run_has_no_changes(tmp_path, monkeypatch):
    assert changed_settings(PARAMS, PIPELINE, {"stages": {}}) == changed_settings(PARAMS, {}, lock()) == []
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    assert changes_of() == []
    (tmp_path / "dvc.yaml").write_text("stages: {evaluate: {}}\n", encoding="utf-8")
    (tmp_path / "dvc.lock").write_text(CUT + "    params: {params.yaml: {split.seed: 8}}\n", encoding="utf-8")
    assert changes_of() == ["split.seed"]
    (tmp_path / "dvc.lock").write_text(CUT + "    params: {params.ya", encoding="utf-8")
    assert changes_of() == []


def test_a_lock_that_is_cut_anywhere_is_no_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = (json.dumps(PARAMS), json.dumps(PIPELINE), YAML)
    for number in range(3):
        for end in range(len(texts[number])):
            files = {
                name: text[: end if place == number else None].encode()
                for place, (name, text) in enumerate(zip(("params.yaml", "dvc.yaml", "dvc.lock"), texts, strict=True))
            }
            changes_of(lambda path, files=files: files[path.name])


def test_planned_stages_have_the_names_that_dvc_gives_them(tmp_path):
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    text = (tmp_path / "params.yaml").read_text(encoding="utf-8")
    steps = "phases: [{name: head, after: none}, {name: top, after: head}]"
    text = text.replace("  last: none\n  phases: []", f"  last: top\n  {steps}")
    text = text.replace("phases:\n  # Settings", "phases:\n  head: {epochs: 1}\n  top: {}\n  # Settings")
    (tmp_path / "params.yaml").write_text(text.replace("  index:\n  - flat", "  index:\n  - flat\n  - ivf_pq"), "utf-8")
    run_dvc(tmp_path, "init", "--no-scm", "-q")
    names = run_dvc(tmp_path, "stage", "list", "--name-only").stdout.split()
    planned = planned_stages(load_params(tmp_path / "dvc.yaml"), load_params(tmp_path / "params.yaml"))
    assert sorted(planned) == sorted(names)
    assert {"phase@step1-2", "embed@0-72", "index@ivf_pq-0"} <= set(names)
