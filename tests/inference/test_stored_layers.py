"""Predictions from stored features and activations equal those from pixels and tokens, and run no frozen layer."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tiny_project import make_settings, write_project

from pipeline_lib.features.inputs import ExtractionRun, read_extraction_inputs
from pipeline_lib.features.photos import ViewOptions, extract_views
from pipeline_lib.features.trunk import TrunkOptions, extract_trunk
from pipeline_lib.inference import query_bank
from pipeline_lib.inference.engine import InferenceEngine
from pipeline_lib.inference.predict import Predictor
from pipeline_lib.inference.stored_layers import find_stored_layers
from pipeline_lib.inference.wise_ft import load_interpolated
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.loading.products import as_arrays, read_products
from pipeline_lib.models.saved import load_model
from pipeline_lib.shards.read import open_shards
from pipeline_lib.stores.store import open_store
from pipeline_lib.towers.kinds import resolve_towers, untrained_image_tower
from pipeline_lib.training.fold import train_fold
from pipeline_lib.transforms.tokenize import TextTokenizer

ENGINE = InferenceEngine("cpu", 5, 0, "fp32")
OTHER_SIZE = 48


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def trained(inputs, tmp_path_factory, tiny_image_folder, tiny_text_folder):
    """A function that trains a fold with its last `layers` groups open, and returns its folder."""
    folders = {}

    def train(layers: int) -> Path:
        if layers not in folders:
            folders[layers] = tmp_path_factory.mktemp(f"open{layers}")
            settings = make_settings(tiny_image_folder, tiny_text_folder, unfreeze_layers=layers, epochs=1)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("VITRINE_CHECKPOINTS", str(tmp_path_factory.mktemp("checkpoints")))
                train_fold(settings, inputs, 0, f"stored{layers}", folders[layers])
        return folders[layers]

    return train


@pytest.fixture(scope="module", params=["float32", "float16"])
def stores(request, inputs, tmp_path_factory, tiny_image_folder, tiny_text_folder):
    """The trunk's stores with a boundary of two groups, and the views of prediction at two sizes."""
    root = tmp_path_factory.mktemp(request.param)
    sources = resolve_towers(make_settings(tiny_image_folder, tiny_text_folder).model)
    run = ExtractionRun(ENGINE, request.param)
    extraction = read_extraction_inputs(inputs.catalogue, inputs.shards, None)
    extract_trunk(sources, extraction, root / "trunk", run, TrunkOptions(layers=2))
    tower = untrained_image_tower(sources["image"], "cpu")
    for size, mirrored in ((32, (True,)), (OTHER_SIZE, (False, True))):
        options = ViewOptions(size, mirrored, 2, 1.0)
        extract_views(tower, sources["image"], extraction.reader, root / str(size), run, options)
    return root


def predictor_of(folder, inputs, scale, stored):
    saved = load_interpolated(folder, 1.0, stored.dims())
    views = PhotoViews(open_shards(inputs.shards, None), scale)
    return Predictor(saved.model, TextTokenizer(folder / "tokenizer"), views, ENGINE, True, "mean_pool", stored)


def predicted(folder, inputs, scale, stored):
    predictor = predictor_of(folder, inputs, scale, stored)
    table = read_products(inputs.catalogue, inputs.folds, inputs.shards / "manifest.parquet")
    products = as_arrays(table, predictor.model.description["classes"])
    blocks = list(predictor.predict(products))
    return (
        np.concatenate([block.embeddings for block in blocks]),
        np.concatenate([block.probabilities for block in blocks]),
        predictor.embed_texts([*products.texts, products.texts[0]]),
    )


@pytest.mark.parametrize("scale", [32, OTHER_SIZE])
@pytest.mark.parametrize("layers", [0, 2])
def test_predictions_are_those_of_the_whole_towers(inputs, trained, stores, layers, scale, monkeypatch):
    folder = trained(layers)
    stored = find_stored_layers(load_model(folder).card, stores / "trunk", stores / str(scale), scale, True)
    kind = "activations" if layers else "features"
    assert stored.messages == (f"photos from stored {kind}", f"texts from stored {kind}") and len(stored.photos) == 2
    expected = predicted(folder, inputs, scale, replace(stored, photos=(), texts=None))
    if not layers:
        for target in ("pipeline_lib.models.saved.base_tensors", "pipeline_lib.models.multimodal.build_image_tower"):
            monkeypatch.setattr(target, lambda *_: pytest.fail("a tower was loaded"))
    monkeypatch.setattr(PhotoViews, "load", lambda *_: pytest.fail("a photo was read"))
    monkeypatch.setattr(TextTokenizer, "encode_batch", lambda *_: pytest.fail("a text was tokenized"))
    for whole, from_stores in zip(expected, predicted(folder, inputs, scale, stored), strict=True):
        np.testing.assert_allclose(from_stores, whole, atol=2e-5 if "float32" in str(stores) else 2e-3)
    assert np.abs(expected[0]).max() > 0.1


def test_a_tower_with_more_trained_layers_than_are_stored_runs_as_a_whole(inputs, trained, stores):
    card = load_model(trained(2)).card
    assert card["run"]["untrained_layers"]["image"]["trained_groups"] == 2
    opened = {**card["run"]["untrained_layers"]["image"], "trained_groups": 3}
    changed = {**card, "run": {**card["run"], "untrained_layers": {"image": opened}}}
    stored = find_stored_layers(changed, stores / "trunk", stores / "32", 32, True)
    assert (stored.photos, stored.texts, stored.messages) == ((), None, ())


def test_without_every_view_of_a_size_photos_are_read(inputs, trained, stores):
    card = load_model(trained(0)).card
    assert not find_stored_layers(card, stores / "trunk", stores / "none", 32, True).photos
    assert len(find_stored_layers(card, stores / "trunk", stores / "none", 32, False).photos) == 1
    assert not find_stored_layers(card, stores / "trunk", stores / "none", OTHER_SIZE, False).photos


def test_a_store_of_another_tower_is_refused(trained, stores):
    card = load_model(trained(0)).card
    other = {"image": {"encoder": "0" * 16, "trained_groups": 0}}
    with pytest.raises(ValueError, match=r"made by encoder \w{16}, but 0{16} is expected; run `dvc repro`"):
        find_stored_layers({**card, "run": {"untrained_layers": other}}, stores / "trunk", stores / "32", 32, True)


def test_the_heads_alone_are_the_model_without_its_towers(trained, stores):
    folder = trained(0)
    dims = find_stored_layers(load_model(folder).card, stores / "trunk", stores / "32", 32, True).dims()
    heads, whole = load_interpolated(folder, 1.0, dims), load_model(folder)
    assert heads.fingerprint == whole.fingerprint and not heads.model.training
    expected = {name: value for name, value in whole.model.state_dict().items() if name.split(".")[0] not in dims}
    assert heads.model.state_dict().keys() == expected.keys() and "logit_scale" in expected
    assert all(torch.equal(value, expected[name]) for name, value in heads.model.state_dict().items())
    with pytest.raises(AssertionError, match="stored, so it was not loaded"):
        heads.model.encode_image(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


@pytest.mark.parametrize("layers", [0, 2])
def test_every_layer_of_both_towers_must_be_stored_for_heads_alone(trained, stores, layers):
    stored = find_stored_layers(load_model(trained(layers)).card, stores / "trunk", stores / "32", 32, True)
    assert stored.photos and stored.texts
    assert (stored.dims() is None) == (layers > 0)
    assert replace(stored, texts=None).dims() is None and replace(stored, photos=()).dims() is None


@pytest.mark.parametrize("block", [3, 10_000])
def test_the_bank_of_training_texts_has_the_embeddings_of_queries(inputs, trained, tmp_path, monkeypatch, block):
    """Blocks do not matter, texts that repeat are one vector, and no feature of a text stays in memory."""
    monkeypatch.setattr(query_bank, "BLOCK", block)
    folder = trained(0)
    stored = find_stored_layers(load_model(folder).card, tmp_path, tmp_path, 32, True)
    predictor = predictor_of(folder, inputs, 32, stored)
    texts = ["red mug", "blue hat striped", "red mug", "", "green mug plain lamp"]
    bank = pl.DataFrame({"query_id": list("abcde"), "text": texts})
    query_bank.write_query_bank(predictor, bank, tmp_path, "m", "v")
    assert not predictor._text_cache
    store = open_store(tmp_path / "bank")
    assert store.ids == list("abcde") and np.array_equal(store.rows(["a"]), store.rows(["c"]))
    assert store.rows(store.ids) == pytest.approx(predictor.embed_texts(texts), abs=2e-3)  # stored as float16


def test_no_bank_is_written_unless_it_is_asked_for(inputs, trained, tmp_path):
    stored = find_stored_layers(load_model(trained(0)).card, tmp_path, tmp_path, 32, True)
    empty = query_bank.read_query_bank(tmp_path / "no catalogue", tmp_path / "no folds", 0)
    query_bank.write_query_bank(predictor_of(trained(0), inputs, 32, stored), empty, tmp_path, "m", "v")
    assert not (tmp_path / "bank").exists()
