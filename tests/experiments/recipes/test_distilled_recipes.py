"""A recipe that learns from the models of another one: its DVC command, the order of runs, and its tiny run."""

import shutil
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from trained import ROOT, make_inputs, tiny_cell, train, with_teachers

from pipeline_lib.experiments.recipes import run, smoke
from pipeline_lib.experiments.recipes.contradictions import contradictions
from pipeline_lib.experiments.recipes.description import description
from pipeline_lib.experiments.recipes.merging import cells
from pipeline_lib.experiments.recipes.schema import read_recipe
from pipeline_lib.params.section import load_params

RECIPE = """\
about: A student of the saved models of d04
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
    """A project folder with the recipes and one more."""
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "recipes" / f"{NAME}.yaml").write_text(RECIPE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_teachers_follow_the_patches_in_plan_teachers(place):
    assert cells(NAME, PARAMS)[0].params["plan"]["teachers"] == ["d04-3stage"]
    assert cells(NAME, PARAMS, tiny=True)[0].params["plan"]["teachers"] == ["d04-3stage-tiny"]
    assert "learns from the saved models of d04-3stage" in description(NAME)
    assert smoke.in_order([NAME]) == ["d04-3stage", NAME]


def test_a_public_teacher_has_a_stand_in_for_tiny_runs_alone(place):
    """The folder that names the public weights is committed, because no recipe trains the log's teacher."""
    recipe = read_recipe("d05-distill-frozen")
    assert (recipe.needs(tiny=False), recipe.needs(tiny=True)) == ([], ["d04-3stage"])
    assert cells("d05-distill-frozen", PARAMS)[0].params["plan"]["teachers"] == ["convnext-base-w"]
    assert cells("d05-distill-frozen", PARAMS, tiny=True)[0].params["plan"]["teachers"] == ["d04-3stage-tiny"]
    line = (
        "learns from the public model of data/starts/convnext-base-w; with --tiny from the saved models of d04-3stage"
    )
    assert line in description("d05-distill-frozen")
    pair = load_params(ROOT / "data/starts/convnext-base-w/model.yaml")
    assert {pair[tower]["name"] for tower in ("image", "text")} == {"convnext_base_w"}


def test_a_name_with_distill_needs_a_loss_and_a_teacher():
    messages = contradictions("d99-distill", PARAMS)
    assert [line.split(", but ")[1] for line in messages] == [
        "every distillation loss has weight 0",
        "plan.teachers is empty",
    ]
    assert not contradictions("d99-distiller", PARAMS)


def test_it_needs_its_teachers_and_copies_them_for_a_queued_run(place, monkeypatch):
    commands = []
    monkeypatch.setattr(
        "subprocess.run", lambda command, **_: commands.append(command) or SimpleNamespace(returncode=0, stdout="")
    )
    with pytest.raises(ValueError, match=r"data/starts/d04-3stage-tiny holds no models to learn from; `vitrine recipe"):
        run.run_recipe(NAME, True, [], tiny=True)
    assert commands == []
    Path("data/starts/d04-3stage-tiny/0").mkdir(parents=True)
    Path("data/starts/d04-3stage-tiny/0/model.safetensors").touch()
    run.run_recipe(NAME, True, [], tiny=True)
    (command,) = (one for one in commands if one[0] != "git")  # which has nothing of it
    assert ("--copy-paths", "data/starts/d04-3stage-tiny") in pairwise(command)
    assert ("-S", "plan.teachers=['d04-3stage-tiny']") in pairwise(command)


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning")
def test_its_tiny_form_trains_from_a_tiny_teacher(place):
    (place / "data").symlink_to(ROOT / "data")
    inputs = make_inputs(place / "project")
    inputs = with_teachers(NAME, inputs, place, place / "recipes")
    params = cells(NAME, PARAMS, tiny=True)[0].params
    trained = train(params, inputs, place / NAME)
    assert set(trained["card"]["run"]["losses"]) == {"info_nce", "contrastive_distillation", "feature_distillation"}
    assert trained["card"]["description"]["embedding_dim"] == 320
    assert tiny_cell("d04-3stage").params["model"]["embedding_dim"] == 640
