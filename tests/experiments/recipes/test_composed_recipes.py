"""The recipes of log E: SPRC's settings, and with --tiny a model of plan.composed that trains."""

import pytest
from composed_project import SOURCES, write_composed_project
from trained import ROOT, tiny_cell

from pipeline_lib.artifacts.read import read_object
from pipeline_lib.experiments.recipes.merging import cells
from pipeline_lib.params.composed import ComposedParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.training.composed.fold import ComposedConfig, train_composed

NAMES = ("e01-baseline", "e02-gated")


@pytest.mark.parametrize("name", NAMES)
def test_the_settings_are_those_of_the_log(name):
    params = cells(name, load_params(ROOT / "params.yaml"), folder=ROOT / "recipes")[0].params
    composed = parse_section(ComposedParams, params)
    losses = composed.losses
    assert (losses.composed_contrast, losses.prompt_contrast, losses.query_alignment) == (1.0, 0.4, 0.4)
    assert (composed.batch_size, composed.lr, composed.epochs) == (64, 1e-5, 10)
    assert (composed.protocol, composed.best_metric, composed.embedding_dim) == ("cirr", "mean", 256)
    assert composed.fusion == ("gated" if name == "e02-gated" else "none") and composed.fusion_width == 768
    image = params["model"]["image"]
    assert (image["resize_mode"], image["size"], params["features"]["trunk"]["at"]) == ("target_pad", 224, "tokens")
    assert params["plan"]["composed"] == ["q_former"]
    # The tokens are those of the tower that the Q-Former was trained with.
    assert (image["kind"], image["name"], image["weights"]) == ("blip2", composed.q_former.weights, None)


@pytest.mark.parametrize("name", NAMES)
def test_a_tiny_run_trains_the_composed_model(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    folders = write_composed_project(tmp_path / "project", num_shapes=6)
    params = tiny_cell(name).params
    composed = parse_section(ComposedParams, params)
    out = tmp_path / "out"
    out.mkdir()
    for kind in params["plan"]["composed"]:
        train_composed(ComposedConfig(kind, composed, SOURCES, "cpu"), folders, 0, name, out)
    card = read_object(out / "model.json")
    assert card["run"]["losses"] == {"composed_contrast": 1.0, "prompt_contrast": 0.4, "query_alignment": 0.4}
    assert card["description"]["fusion"]["kind"] == composed.fusion
    assert {"R@1", "R@50", "R_subset@1", "mean"} <= card["run"]["best"].keys()
