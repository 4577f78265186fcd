"""Training from stored activations: the losses of a run from pixels and tokens, without its frozen part."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from tiny_project import make_settings, write_project
from watched_run import check_resumes, losses, run

from pipeline_lib.artifacts.read import read_object
from pipeline_lib.features.inputs import ExtractionInputs, ExtractionRun
from pipeline_lib.features.trunk import TrunkOptions, extract_trunk
from pipeline_lib.inference.engine import InferenceEngine
from pipeline_lib.models.multimodal import ImageTextModel
from pipeline_lib.models.saved import load_model, read_state
from pipeline_lib.params.model import ModelParams
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.training import model_setup
from pipeline_lib.training.fold_data import read_fold
from pipeline_lib.training.run_start import resolve_initial_weights
from pipeline_lib.training.stored_inputs import find_stored_inputs
from pipeline_lib.training.trainer import Trainer
from pipeline_lib.training.validation import Validator

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning"),
    pytest.mark.usefixtures("isolated"),
]
BOTH = {"image": "boundary", "text": "boundary"}


@pytest.fixture
def inputs(tmp_path):
    return write_project(tmp_path / "project")


def store(settings, inputs, dtype="float32", layers=2, log=None, **options):
    data = read_fold(inputs, 0, True)
    queries = pl.read_parquet(inputs.catalogue / "queries.parquet")["text"].to_list()
    texts = ["", *data.training.texts, *data.held_out.texts, *queries]
    photos = pl.read_parquet(inputs.shards / "manifest.parquet")
    reader, engine = ShardReader(Manifest(inputs.shards)), InferenceEngine("cpu", 16, 0, "fp32")
    sources, extracted = resolve_towers(settings.model), ExtractionInputs(reader, photos, texts)
    extraction = ExtractionRun(engine, dtype, log=log)
    extract_trunk(sources, extracted, inputs.trunk, extraction, TrunkOptions(layers, **options))


def kinds(out):
    return read_object(out / "model.json")["run"]["stored_features"]


def run_both(settings, inputs, dtype="float32", layers=2):
    """Run from pixels and tokens, then from a store; return both outputs."""
    plain = run(settings, inputs, "plain")
    assert kinds(plain) == {}
    store(settings, inputs, dtype, layers)
    return plain, run(settings, inputs, "stored")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 3e-3)])
def test_losses_equal_those_of_the_run_without_the_store(inputs, towers, dtype, tolerance):
    settings = make_settings(*towers, unfreeze_layers=2)
    plain, stored = run_both(settings, inputs, dtype)
    assert kinds(stored) == BOTH
    assert np.allclose(losses(plain), losses(stored), rtol=tolerance, atol=tolerance)
    assert read_object(stored / "trainable.json")["starts"] == [
        "image: from stored activations before stages.3, the last 2 of 7 layer groups",
        "text: from stored activations before layer.1, the last 2 of 4 layer groups",
    ]


CASES = {
    "schedule": {"unfreeze_layers": 1, "schedule": [{"epoch": 1, "tower": "text", "layers": 2}]},
    "ema": {"ema_decay": 0.5},
    "accumulate": {"accumulate": 2},
    "momentum": {"losses_on": {"memory_queue": {"weight": 1.0, "size": 16, "momentum": 0.9, "start_epoch": 0}},
                 "info_nce": 0.0},
    "mining": {"mining": "hard"},
    "norms only": {"unfreeze_layers": 1},
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_training_option_works_from_stored_activations(inputs, towers, case):
    # The second epoch is the first with mined batches, and opens the layers of the schedule.
    plain, stored = run_both(make_settings(*towers, epochs=2, **CASES[case]), inputs)
    assert kinds(stored) == BOTH
    assert np.allclose(losses(plain), losses(stored), rtol=1e-4, atol=1e-5)
    one, other = (read_state(out) for out in (plain, stored))
    assert one.keys() == other.keys()  # all layers of the towers are saved
    for name, value in one.items():
        assert torch.allclose(value, other[name], atol=1e-3), name
    load_model(stored)


def test_one_tower_from_pixels_and_one_from_its_store(inputs, towers):
    for number, (changes, expected) in enumerate(
        [
            ({"augment": "jitter_flip"}, {"text": "boundary"}),
            ({"text_augment": "word_dropout"}, {"image": "boundary"}),
            ({"towers": both(image={"unfreeze_layers": 0})}, {"image": "pooled", "text": "boundary"}),
            ({"towers": both(text={"embeddings": "open"})}, {"image": "boundary"}),
        ]
    ):
        settings = make_settings(*towers, epochs=2, **changes)
        unstored = make_settings(*towers, epochs=2, use_stored_features=False, **changes)
        if not number:
            store(settings, inputs)
        plain, stored = run(unstored, inputs, f"plain{number}"), run(settings, inputs, f"stored{number}")
        assert (kinds(plain), kinds(stored)) == ({}, expected)
        assert np.allclose(losses(plain), losses(stored), rtol=1e-4, atol=1e-5), changes


@pytest.mark.parametrize("layers", [0, 2])
@pytest.mark.parametrize("photo", ["first", "mean_pool"])
def test_validation_of_a_run_that_augments_starts_from_the_stores(inputs, towers, monkeypatch, layers, photo):
    changes = {"augment": "jitter_flip", "text_augment": "word_dropout", "unfreeze_layers": layers, "photo": photo}
    plain = run(make_settings(*towers, epochs=2, use_stored_features=False, **changes), inputs, "plain")
    settings = make_settings(*towers, epochs=2, **changes)
    store(settings, inputs)
    encoded, measure = {"training": set(), "validation": set()}, Validator.measure

    def watched_measure(validator, task):
        now.append("validation")
        measured = measure(validator, task)
        now.pop()
        return measured

    def watched(name, encode):
        return lambda *inputs: encoded[now[-1]].add(name) or encode(*inputs)

    now = ["training"]
    monkeypatch.setattr(Validator, "measure", watched_measure)
    for name in ("encode_image", "encode_text"):
        monkeypatch.setattr(ImageTextModel, name, watched(name, getattr(ImageTextModel, name)))
    stored = run(settings, inputs, "stored")
    assert encoded == {"training": {"encode_image", "encode_text"}, "validation": set()}
    assert np.allclose(losses(plain), losses(stored), rtol=1e-4, atol=1e-5)
    assert kinds(stored) == {}
    image, text = read_object(stored / "trainable.json")["starts"]
    assert image.startswith(
        "image: from pixels, train.augment = jitter_flip, but no augmented views are stored; in val"
    )
    assert text.startswith("text: from tokens, train.text_augment = word_dropout; in validation from ")


def both(**rules):
    rule = {"unfreeze_layers": None, "freeze_first": None, "embeddings": "follow"}
    return {name: rule | rules.get(name, {}) for name in ("image", "text")}


def test_the_frozen_part_is_not_run(inputs, towers, monkeypatch):
    settings = make_settings(*towers, unfreeze_layers=2, epochs=1)
    store(settings, inputs)
    calls, build = [], model_setup.build_model

    def watched(*arguments):
        model = build(*arguments)
        for path in ("image.trunk.stem", "image.trunk.stages.2", "text.trunk.embeddings", "text.trunk.encoder.layer.0",
                     "text.trunk.encoder.layer.1", "image.trunk.stages.3.blocks.0"):  # fmt: skip
            model.get_submodule(path).register_forward_hook(lambda *_, path=path: calls.append(path))
        return model

    monkeypatch.setattr(model_setup, "build_model", watched)
    monkeypatch.setattr("pipeline_lib.loading.photo_views.decode", lambda *_: pytest.fail("a photo was decoded"))
    run(settings, inputs, "out")
    # Before the first step, one pass of a few texts checks that the pooling tells them apart.
    check = {"text.trunk.embeddings", "text.trunk.encoder.layer.0"}
    assert [calls.count(path) for path in check] == [1, 1]
    assert set(calls) - check == {"text.trunk.encoder.layer.1", "image.trunk.stages.3.blocks.0"}


def test_an_interrupted_run_resumes_to_the_same_result(inputs, towers, monkeypatch):
    settings = make_settings(*towers, unfreeze_layers=2)
    store(settings, inputs)
    check_resumes(settings, inputs, monkeypatch)


def stored_inputs(settings, inputs, opened, unchanged=("image", "text")):
    """The stores of a run whose towers in `unchanged` have the weights that `model` names."""
    initial = replace(resolve_initial_weights(settings, None), unchanged=frozenset(unchanged))
    return find_stored_inputs(settings, inputs, initial, opened)


def test_each_tower_reads_the_nearest_store_or_has_a_reason(inputs, towers):
    """7 image and 4 text groups, stem first; a group that opens in a later epoch counts as trained."""
    settings = make_settings(*towers)
    none, image, text = {"image": [None] * 7, "text": [None] * 4}, [None] * 5 + [0, 0], [None, None, 2, 0]
    assert stored_inputs(settings, inputs, none).messages[0] == "image: from pixels, plan.features does not have trunk"
    store(settings, inputs)
    for opened, expected in (
        (none, {"image": "pooled", "text": "pooled"}),
        ({"image": image, "text": text}, BOTH),
        ({"image": image, "text": [None, 2, 2, 0]}, {"image": "boundary"}),
        ({"image": [0, *[None] * 6], "text": [None, None, None, 0]}, {"text": "boundary"}),
    ):
        assert stored_inputs(settings, inputs, opened).features.kinds() == expected
    messages = stored_inputs(settings, inputs, {"image": image, "text": [None, 2, 2, 0]}).messages
    assert messages[1] == "text: from tokens, its last 3 of 4 layer groups are trained, but features.trunk.layers = 2"
    warm = stored_inputs(settings, inputs, none, unchanged=("text",))
    assert warm.features.kinds() == {"text": "pooled"}
    assert warm.messages[0] == "image: from pixels, train.init_from gives it other weights than are stored"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"register_memory.slots_private": 2}, {}),
        ({"text_vocabulary": "cut"}, {"image": "boundary"}),
        ({"fusion": "early"}, {}),
        ({"image.pretrained": False}, {"text": "boundary"}),
    ],
)
def test_a_tower_that_a_setting_changes_reads_its_input(inputs, towers, changes, expected):
    settings = make_settings(*towers)
    store(settings, inputs)
    opened = {"image": [None] * 5 + [0, 0], "text": [None, None, 0, 0]}
    values = settings.model.model_dump()
    for key, value in changes.items():
        section, _, inner = key.rpartition(".")
        (values[section] if section else values)[inner] = value
    object.__setattr__(settings, "model", ModelParams.model_validate(values))
    assert stored_inputs(settings, inputs, opened).features.kinds() == expected


def test_new_parts_after_the_boundary_are_trained_from_stored_activations(inputs, towers):
    """A pooling without pretrained weights has no output to store, but its tower has activations to store."""
    settings = make_settings(*towers, epochs=2)
    values = settings.model.model_dump()
    values["text"]["pooling"] = "attentive"
    object.__setattr__(settings, "model", ModelParams.model_validate(values))
    plain, stored = run_both(settings, inputs)
    assert kinds(stored) == BOTH and not (inputs.trunk / "text").exists()
    assert np.allclose(losses(plain), losses(stored), rtol=1e-4, atol=1e-5)


def test_a_store_of_another_tower_or_a_truncated_one_is_refused(inputs, towers, monkeypatch):
    settings = make_settings(*towers, unfreeze_layers=2)
    store(settings, inputs)
    monkeypatch.setattr(Trainer, "run", lambda *_: pytest.fail("training has started"))
    other = make_settings(*towers, unfreeze_layers=2)
    object.__setattr__(other, "model", ModelParams.model_validate(
        settings.model.model_dump() | {"text": settings.model.text.model_dump() | {"max_tokens": 12}}
    ))  # fmt: skip
    with pytest.raises(ValueError, match=r"text-boundary: made by encoder \w+, but \w+ is expected; run `dvc repro`"):
        run(other, inputs, "other")
    matrix = inputs.trunk / "image-boundary" / "matrix.npy"
    matrix.write_bytes(matrix.read_bytes()[:-2])
    with pytest.raises(ValueError, match=r"image-boundary/matrix.npy: damaged, .*truncated"):
        run(settings, inputs, "out")


def test_stores_over_the_size_limit_are_refused_before_the_towers_run(inputs, towers, monkeypatch):
    settings, messages = make_settings(*towers), []
    monkeypatch.setattr("pipeline_lib.features.photos.encode_photos", lambda *_: pytest.fail("a tower was run"))
    with pytest.raises(ValueError, match=r"features.max_gb = 1e-05, but [\d.]+ KB would be stored"):
        store(settings, inputs, max_gb=1e-5, log=messages.append)
    assert not inputs.trunk.exists() and not messages
