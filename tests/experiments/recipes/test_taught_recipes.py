"""A recipe that learns from another one's models: what it asks of DVC, in which order, and its tiny run."""

import shutil
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from trained import ROOT, make_inputs, taught, tiny_cell, train

from pipeline_lib.experiments.recipes import run, smoke
from pipeline_lib.experiments.recipes.contradictions import contradictions
from pipeline_lib.experiments.recipes.merging import cells
from pipeline_lib.experiments.recipes.schema import read_recipe
from pipeline_lib.experiments.recipes.tables import told
from pipeline_lib.params.section import load_params

RECIPE = """\
about: A student of the kept models of d04
log: D
based_on: d04-3stage
distilled_from: [d04-3stage]
reported: no figure, it is a test's
params:
  model: {embedding_dim: 320, projector: {text: linear}}
  losses: {contrastive_distillation: {weight: 1.0}, feature_distillation: {weight: 0.5}}
"""
NAME = "d99-distill"
PARAMS = load_params(ROOT / "params.yaml")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A project's folder with the recipes, one more among them."""
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "recipes" / f"{NAME}.yaml").write_text(RECIPE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_teachers_stand_in_plan_features_behind_what_the_patches_say(place):
    assert cells(NAME, PARAMS)[0].params["plan"]["features"] == ["d04-3stage"]
    assert cells(NAME, PARAMS, tiny=True)[0].params["plan"]["features"] == ["d04-3stage-tiny"]
    assert "learns from the kept models of d04-3stage\n" in told(NAME) + "\n"
    assert smoke.in_order([NAME]) == ["d04-3stage", NAME]


def test_a_public_teacher_has_a_stand_in_for_tiny_runs_alone(place):
    """The folder that names the public weights is committed; the log's teacher is no model that a recipe trains."""
    recipe = read_recipe("d05-distill-frozen")
    assert (recipe.needs(tiny=False), recipe.needs(tiny=True)) == ([], ["d04-3stage"])
    assert cells("d05-distill-frozen", PARAMS)[0].params["plan"]["features"] == ["convnext-base-w"]
    assert cells("d05-distill-frozen", PARAMS, tiny=True)[0].params["plan"]["features"] == ["d04-3stage-tiny"]
    assert "public model of data/starts/convnext-base-w; with --tiny from d04-3stage" in told("d05-distill-frozen")
    pair = load_params(ROOT / "data/starts/convnext-base-w/model.yaml")
    assert {pair[tower]["name"] for tower in ("image", "text")} == {"convnext_base_w"}


def test_a_name_that_says_distill_wants_a_loss_and_a_teacher():
    named = "d99-distill"
    found = contradictions(named, PARAMS)
    assert [line.split(", but ")[1] for line in found] == [
        "every distillation loss has weight 0",
        "plan.features = ['trunk'] names no teacher",
    ]
    assert not contradictions("d99-distiller", PARAMS)


def test_it_waits_for_its_teachers_and_takes_them_into_a_queue(place, monkeypatch):
    asked = []
    monkeypatch.setattr("subprocess.run", lambda command, **_: asked.append(command) or SimpleNamespace(returncode=0))
    with pytest.raises(ValueError, match=r"data/starts/d04-3stage-tiny holds no models to learn from; `vitrine recipe"):
        run.run_recipe(NAME, True, [], tiny=True)
    assert asked == []
    Path("data/starts/d04-3stage-tiny/0").mkdir(parents=True)
    Path("data/starts/d04-3stage-tiny/0/model.safetensors").touch()
    run.run_recipe(NAME, True, [], tiny=True)
    (command,) = asked
    assert ("--copy-paths", "data/starts/d04-3stage-tiny") in pairwise(command)
    assert ("-S", "plan.features=['d04-3stage-tiny']") in pairwise(command)


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning")
def test_its_tiny_form_trains_from_a_tiny_teacher(place):
    (place / "data").symlink_to(ROOT / "data")
    inputs = make_inputs(place / "project")
    inputs = taught(NAME, inputs, place, place / "recipes")
    params = cells(NAME, PARAMS, tiny=True)[0].params
    found = train(params, inputs, place / NAME)
    assert set(found["card"]["run"]["losses"]) == {"info_nce", "contrastive_distillation", "feature_distillation"}
    assert found["card"]["description"]["embedding_dim"] == 320
    assert tiny_cell("d04-3stage").params["model"]["embedding_dim"] == 640
