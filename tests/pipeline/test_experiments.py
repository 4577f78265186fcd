"""Experiments under DVC in a project of one fold: empty lists, warm starts, comparison, fusion and interpolation."""

import json

import pytest
from safetensors.torch import load_file

from pipeline_lib.models.saved import read_state

AFTER = ["embed@0-32", "gallery@0", "index@flat-0", "ensemble", "evaluate", "report"]
WARM_START = "train.init_from=data/starts/mine"


@pytest.fixture(scope="module")
def project(built_project, fork_server, tmp_path_factory):
    project = built_project.copy(tmp_path_factory.mktemp("experiments") / "project", fork_server)
    project.set_params("plan.folds=[0]", "plan.features=[]")
    project.first_stages = project.run_stages(project.run("dvc", "repro").stdout)
    project.commit("one fold without stored features")
    return project


def trainable_report(project):
    return json.loads((project.folder / "data/work/train/0/trainable.json").read_text(encoding="utf-8"))


def sources(project):
    return [row["source"] for row in trainable_report(project)["towers"]]


def test_empty_lists_remove_stages(project):
    """The new lists are params of these stages; the model stays the same, so its embeddings and index do."""
    stages = ["folds", "views@32", "embed@0-32", "gallery@0", "ensemble", "baselines", "evaluate", "report"]
    assert project.first_stages == stages
    project.set_params("plan.search=[]")
    project.run("dvc", "repro")
    listed = project.run("dvc", "stage", "list", "--name-only").stdout.split()
    assert not [name for name in listed if name.startswith(("features", "gallery", "index"))]
    assert "report" in listed
    project.restore()


def test_a_saved_experiment_is_a_start_for_others(project):
    """The first run from it executes training and the stages after it; the second run does nothing."""
    assert sources(project) == ["data/weights/image/model.safetensors", "data/weights/text", "random"]
    weights = read_state(project.folder / "data/work/train/0", root=project.folder)
    printed = project.run_vitrine("keep", "HEAD", "mine").stdout
    assert "dvc add data/starts/mine" in printed and f"-S {WARM_START}" in printed and "folds 0" in printed
    saved = load_file(project.folder / "data/starts/mine/0/model.safetensors")
    assert saved.keys() == weights.keys() and all(value.equal(weights[name]) for name, value in saved.items())
    project.run("dvc", "add", "data/starts/mine")
    project.run("git", "add", "data/starts/mine.dvc")
    assert project.run("git", "status", "--porcelain").stdout == "A  data/starts/mine.dvc\n"
    project.run("git", "commit", "-qm", "a start")

    done = project.run("dvc", "exp", "run", "-n", "warm", "-S", WARM_START)
    assert project.run_stages(done.stdout) == ["train@0", *AFTER]
    assert sources(project) == ["data/starts/mine/0"] * 3
    shown = json.loads(project.run("dvc", "exp", "show", "--json").stdout)
    assert "warm" in json.dumps(shown)
    compared = project.run_vitrine("compare", "HEAD", "warm").stdout
    assert "MeanRecall" in compared
    again = project.run("dvc", "exp", "run", "-n", "again", "-S", WARM_START)
    assert project.run_stages(again.stdout) == []
    project.restore()
    assert "data/weights/text" in sources(project) and (project.folder / "data/starts/mine/0").is_dir()


def test_predictions_of_another_run_are_fused_without_training(project):
    printed = project.run_vitrine("keep-predictions", "HEAD", "warm", "both").stdout
    assert "data/predictions/both: the class predictions of HEAD, warm" in printed
    change = printed.splitlines()[-1].split("dvc exp run ")[1].split()
    done = project.run("dvc", "exp", "run", "-n", "fused", *change)
    assert project.run_stages(done.stdout) == ["ensemble", "evaluate", "report"]
    fusion = json.loads((project.folder / "data/work/ensemble/fusion.json").read_text())
    assert set(fusion["test"]["others"]) == {"HEAD", "warm"}
    assert sum({**fusion["test"]["weights"], **fusion["test"]["others"]}.values()) == pytest.approx(1, abs=1e-5)
    assert "they are fused with those of HEAD" in (project.folder / "reports/index.html").read_text()
    assert "top1" in project.run_vitrine("compare", "HEAD", "fused").stdout
    project.restore()


def test_interpolation_with_the_start_needs_no_training_and_search_uses_it(project):
    done = project.run("dvc", "exp", "run", "-n", "between", "-S", "embed.interpolation=0.5")
    assert project.run_stages(done.stdout) == AFTER
    fingerprint = json.loads((project.folder / "data/work/index/flat-0/manifest.json").read_text())["model"]
    card = json.loads((project.folder / "data/work/train/0/model.json").read_text())
    assert fingerprint != card["fingerprint"]
    assert project.run_vitrine("search", "red mug", "--top", "3").stdout.count("p") >= 3
    project.set_params("embed.interpolation=1.0")
    other = project.run_vitrine("search", "red mug", check=False)
    assert other.returncode == 1
    assert f"built with model {fingerprint}, but the queries use {card['fingerprint']}" in other.stderr
    project.restore()
    assert project.run_stages(project.run("dvc", "repro", "--dry").stdout) == []


def test_a_model_that_cannot_be_saved_is_one_line(project):
    """tests/experiments/test_keep.py has the other reasons."""
    done = project.run_vitrine("keep", "nowhere", "other", check=False)
    assert done.returncode == 1 and "nowhere: no such revision or experiment" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_start_without_a_model_of_the_fold_is_one_line(project):
    project.set_params(WARM_START, "plan.folds=[1]", "plan.search=[1]")
    done = project.run("dvc", "repro", "train", check=False)
    project.restore()
    assert done.returncode != 0
    assert "data/starts/mine/model.safetensors is missing for fold 1; data/starts/mine holds 0" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
