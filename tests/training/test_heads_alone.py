"""A run that reads the outputs of both towers builds none of them, and gives what a run with frozen towers gives."""

import json

import numpy as np
import pytest
import timm
import torch
from cached_towers import SHARED
from safetensors.torch import save_file
from test_stored_prefix import both, kinds, store
from tiny_project import make_settings, write_project
from watched_run import check_resumes, losses, run, started

from pipeline_lib.artifacts.read import read_object
from pipeline_lib.models.multimodal import is_heads_alone
from pipeline_lib.models.saved import load_model, read_state, save_model
from pipeline_lib.towers import kinds as tower_kinds
from pipeline_lib.training.fold_data import read_fold
from pipeline_lib.training.model_setup import build_bundle

pytestmark = pytest.mark.usefixtures("isolated")
OUTPUTS = {"image": "pooled", "text": "pooled"}
FROZEN = {"unfreeze_layers": 0, "epochs": 2}
CASES = {
    "plain": {},
    "ema": {"ema_decay": 0.5},
    "accumulate": {"accumulate": 2},
    "momentum": {"losses_on": {"memory_queue": {"weight": 1.0, "size": 16, "momentum": 0.9, "start_epoch": 0}},
                 "info_nce": 0.0},
    "mining": {"mining": "hard"},
    "checkpointing": {"grad_checkpointing": {"image": True, "text": True}},
    "all photos": {"photo": "mean_pool"},
    "classifier alone": {"info_nce": 0.0},
}  # fmt: skip


@pytest.fixture
def inputs(tmp_path):
    return write_project(tmp_path / "project")


@pytest.fixture
def built(monkeypatch):
    """The devices of the towers that are built, as they are built."""
    devices = []
    for name in ("build_image_tower", "build_text_tower"):
        for module in ("pipeline_lib.models.multimodal", "pipeline_lib.training.model_setup"):
            build = getattr(tower_kinds, name)

            def watched(description, build=build):
                tower = build(description)
                devices.append(next(tower.parameters()).device.type)
                return tower

            monkeypatch.setattr(f"{module}.{name}", watched)
    return devices


@pytest.mark.parametrize("case", CASES)
def test_the_run_equals_one_with_frozen_towers(inputs, towers, built, case):
    """Down to the initial weights of the heads, which towers that are built would otherwise move."""
    changes = {**FROZEN, **CASES[case]}
    plain = run(make_settings(*towers, use_stored_features=False, **changes), inputs, "plain")
    settings = make_settings(*towers, **changes)
    store(settings, inputs, layers=0)
    built.clear()
    stored = run(settings, inputs, "stored")
    assert (kinds(plain), kinds(stored), set(built)) == ({}, OUTPUTS, {"meta"})
    assert np.allclose(losses(plain), losses(stored), rtol=1e-4, atol=1e-5)
    one, other = (read_state(out) for out in (plain, stored))
    assert one.keys() == other.keys()  # the towers are those of the base
    for name, value in one.items():
        tower = name.startswith(("image.", "text."))
        assert torch.equal(value, other[name]) if tower else torch.allclose(value, other[name], atol=1e-3), name
    load_model(stored)
    for file in ("trainable.json", "model.json"):
        first, second = (read_object(out / file) for out in (plain, stored))
        assert (first.get("towers"), first.get("base")) == (second.get("towers"), second.get("base"))


def test_an_interrupted_run_resumes_to_the_same_result(inputs, towers, monkeypatch):
    settings = make_settings(*towers, unfreeze_layers=0, epochs=3)
    store(settings, inputs, layers=0)
    check_resumes(settings, inputs, monkeypatch)


def test_the_next_phase_starts_from_heads_alone(inputs, towers):
    """Its own phase, and one that opens layers: both read the towers from the base that the card names."""
    settings = make_settings(*towers, **FROZEN)
    store(settings, inputs, layers=0)
    first = run(settings, inputs, "first")
    for name, layers, towers_alone in (("heads", 0, True), ("layers", 1, False)):
        changed = make_settings(*towers, epochs=1, unfreeze_layers=layers, init_from=str(first))
        bundle = build_bundle(changed, started(changed, inputs), read_fold(inputs, 0, True), True)
        assert is_heads_alone(bundle.model) == towers_alone
        start, own = read_state(first), bundle.with_towers().state_dict()
        assert all(torch.equal(value, start[key]) for key, value in own.items() if key in start), name
        assert set(start) <= set(own)


def test_the_towers_are_built_where_one_of_them_runs(inputs, towers, built):
    store(make_settings(*towers, **FROZEN), inputs, layers=0)
    runs = {"tokens": {"text_augment": "word_dropout"}, "layers": {"towers": both(text={"embeddings": "open"})}}
    for name, changes in runs.items():
        built.clear()
        out = run(make_settings(*towers, **{**FROZEN, "epochs": 1}, **changes), inputs, name)
        assert "cpu" in built and kinds(out) == {"image": "pooled"}


def test_initial_heads_do_not_depend_on_frozen_towers(inputs, towers):
    """Another tower of the same width, and none at all, leave the first weights of the heads as they are."""
    states = []
    for stored in (False, True):
        settings = make_settings(*towers, **FROZEN, use_stored_features=stored)
        if stored:
            store(settings, inputs, layers=0)
        torch.manual_seed(settings.train.seed)
        bundle = build_bundle(settings, inputs, read_fold(inputs, 0, True), True)
        states.append((dict(bundle.model.head_parameters()), torch.get_rng_state()))
    (one, after), (other, later) = states
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(after, later)


def test_stored_texts_with_equal_vectors_are_refused_by_the_tower(inputs, towers, monkeypatch):
    """The tower of a run of heads alone is built for this check only."""
    settings = make_settings(*towers, **FROZEN)
    store(settings, inputs, layers=0)
    monkeypatch.setattr("pipeline_lib.training.input_checks.CLEARLY", 1e9)
    run(settings, inputs, "close")  # the tower tells the texts apart
    monkeypatch.setattr("pipeline_lib.training.input_checks.EQUAL", 1e9)
    with pytest.raises(ValueError, match=r"the text tower gives .* the same vector"):
        run(settings, inputs, "equal")


@pytest.mark.parametrize("architecture", SHARED)
def test_tensors_under_two_names_are_saved_once(inputs, towers, tmp_path, architecture):
    """As if the tower had run: the same names and fingerprint, and the next phase reads the stores again."""
    arguments = SHARED[architecture][0] | {"img_size": 32}
    folder = tmp_path / "shared"
    folder.mkdir()
    state = timm.create_model(architecture, num_classes=0, **arguments).state_dict()
    save_file({name: value.clone() for name, value in state.items()}, folder / "model.safetensors")
    config = {"architecture": architecture, "model_args": arguments, "mean": [0.5] * 3, "std": [0.25] * 3}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    towers = (folder, towers[1])
    plain = run(make_settings(*towers, use_stored_features=False, **FROZEN), inputs, "plain")
    settings = make_settings(*towers, **FROZEN)
    store(settings, inputs, layers=0)
    stored = run(settings, inputs, "stored")
    assert read_state(stored).keys() == read_state(plain).keys()
    assert read_object(stored / "model.json")["base"] == read_object(plain / "model.json")["base"]
    loaded = load_model(stored)
    assert save_model(tmp_path / "whole", loaded.model, {}) == loaded.fingerprint
    assert kinds(run(make_settings(*towers, **FROZEN, init_from="stored"), inputs, "next")) == OUTPUTS
