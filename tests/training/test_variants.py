"""Folds with outputs that cannot be stored, with CLIP towers, or with dot products as similarity."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tiny_project import make_settings, write_project
from watched_run import losses, run

from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.features.boundaries import why_not_pooled
from pipeline_lib.features.inputs import ExtractionInputs, ExtractionRun
from pipeline_lib.features.trunk import extract_trunk
from pipeline_lib.inference.embeddings import write_embeddings
from pipeline_lib.inference.engine import InferenceEngine
from pipeline_lib.inference.predict import Predictor
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.models.saved import load_model
from pipeline_lib.params.model import ModelParams
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.stores.store import open_store
from pipeline_lib.towers.kinds import resolve_towers
from pipeline_lib.training.fold_data import read_fold
from pipeline_lib.transforms.tokenize import CLIP_MARK, TextTokenizer

pytestmark = [pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning"), pytest.mark.usefixtures("isolated")]
ENGINE = InferenceEngine("cpu", 16, 0, "fp32")


@pytest.fixture
def inputs(tmp_path):
    return write_project(tmp_path / "project")


@pytest.fixture
def with_model(tiny_image_folder, tiny_text_folder):
    def make(changes, **train):
        settings = make_settings(tiny_image_folder, tiny_text_folder, epochs=1, **train)
        values = settings.model.model_dump()
        for key, value in changes.items():
            section, _, inner = key.rpartition(".")
            (values[section] if section else values)[inner] = value
        object.__setattr__(settings, "model", ModelParams.model_validate(values))
        return settings

    return make


def extract(settings, inputs):
    sources = resolve_towers(settings.model)
    photos = pl.read_parquet(inputs.shards / "manifest.parquet")
    data = read_fold(inputs, 0, True)
    texts = ["", *data.training.texts, *data.held_out.texts]
    extracted = ExtractionInputs(ShardReader(Manifest(inputs.shards)), photos, texts)
    extract_trunk(sources, extracted, inputs.trunk, ExtractionRun(ENGINE, "float32"))
    return sources


@pytest.mark.parametrize(
    ("changes", "tower", "reason"),
    [
        ({"fusion": "early"}, "image", "model.fusion = early reads tokens"),
        ({"fusion": "early"}, "text", "model.fusion = early reads tokens"),
        ({"text.pooling": "attentive"}, "text", r"model.text has parts without pretrained weights \(pool\.\)"),
        ({"image.feature": "new_fc"}, "image", r"model.image has parts without pretrained weights \(fc\.\)"),
        ({"image.pooling": "gem"}, "image", r"model.image has parts without pretrained weights \(pool\.\)"),
    ],
)
def test_an_output_that_cannot_be_stored_is_neither_written_nor_read(inputs, with_model, changes, tower, reason):
    settings = with_model(changes, unfreeze_layers=0)
    sources = extract(settings, inputs)
    assert not (inputs.trunk / tower).exists()
    assert re.match(reason, why_not_pooled(tower, sources[tower]))
    extract(with_model({}), inputs)  # a store of other settings
    out = run(settings, inputs, "out")
    assert tower not in read_object(out / "model.json")["run"]["stored_features"]


def test_photos_are_resized_alike_for_stores_and_for_training(inputs, with_model):
    changes = {"image.interpolation": "bilinear"}
    extract(with_model(changes), inputs)
    read = run(with_model(changes, unfreeze_layers=0), inputs, "read")
    assert read_object(read / "model.json")["run"]["stored_features"]["image"] == "pooled"
    own = {"unfreeze_layers": 0, "use_stored_features": False}
    decoded, other = run(with_model(changes, **own), inputs, "decoded"), run(with_model({}, **own), inputs, "other")
    assert np.allclose(losses(read), losses(decoded), atol=1e-5)
    assert not np.allclose(losses(decoded), losses(other), atol=1e-3)
    with pytest.raises(ValueError, match="dvc repro"):
        run(with_model({}, unfreeze_layers=0), inputs, "refused")


def test_a_size_at_which_the_tower_cannot_predict_stops_the_run_before_training(inputs, with_model):
    vit = {"name": "vit_tiny_patch16_224", "pretrained": False, "size": 32,
           "args": {"img_size": 32, "patch_size": 16, "embed_dim": 16, "depth": 1, "num_heads": 2}}  # fmt: skip
    settings = with_model({f"image.{key}": value for key, value in vit.items()}, unfreeze_layers="all")
    with pytest.raises(ValueError, match=r"plan.scales = 40: .* patches of 16 pixels; use a multiple, e.g. 32 or 48"):
        run(replace(settings, scales=(32, 40)), inputs, "out")
    assert not list(Path("out").iterdir())


def test_a_pooling_without_weights_is_stored(inputs, with_model):
    settings = with_model({"image.pooling": "max", "text.pooling": "max"}, unfreeze_layers=0)
    sources = extract(settings, inputs)
    assert not [name for name, source in sources.items() if why_not_pooled(name, source)]
    kinds = read_object(run(settings, inputs, "out") / "model.json")["run"]["stored_features"]
    assert kinds == {"image": "pooled", "text": "pooled"}


def test_a_frozen_part_without_pretrained_weights_has_a_warning(inputs, with_model):
    settings = with_model({"text.pooling": "attentive"}, unfreeze_layers=0)
    warnings = read_object(run(settings, inputs, "out") / "trainable.json")["warnings"]
    size = 16 * 16 + 16 + 16
    assert len(warnings) == 1
    assert warnings[0].startswith(f"text: {size} frozen parameters are random: the new pool.hidden.weight;")


def test_an_open_part_without_pretrained_weights_is_trained_and_has_no_warning(inputs, with_model):
    settings = with_model({"text.pooling": "attentive"}, unfreeze_layers=1)
    out = run(settings, inputs, "out")
    report = read_object(out / "trainable.json")
    text = next(row for row in report["towers"] if row["tower"] == "text")
    assert [group["name"] for group in text["groups"] if group["trainable"]] == ["pool"]
    assert not [line for line in report["warnings"] if "random" in line]


def test_a_clip_model_is_trained_and_saved_with_its_tokenizer(inputs, with_model, tmp_path):
    """Both towers of one open_clip config with their own projections; texts use the saved tokenizer."""
    config = {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    write_json(tmp_path / "clip.json", config)
    both = {"kind": "open_clip", "name": str(tmp_path / "clip.json"), "pretrained": False}
    changes = {f"{tower}.{key}": value for tower in ("image", "text") for key, value in both.items()}
    projector = {"image": "none", "text": "none", "hidden": 1, "shared": False}
    settings = with_model({**changes, "text.pooling": "last", "projector": projector}, unfreeze_layers="all")
    out = run(settings, inputs, "out")
    assert (out / "tokenizer" / CLIP_MARK).is_file()
    saved = load_model(out)
    assert [row["tower"] for row in read_object(out / "trainable.json")["towers"]] == ["image", "text", "head"]
    ids, mask = (torch.as_tensor(part) for part in TextTokenizer(out / "tokenizer").encode_batch(["red mug"], 16))
    with torch.inference_mode():
        embedding = saved.model.embed_text(saved.model.encode_text(ids, mask))
    assert embedding.norm().item() == pytest.approx(1)


@pytest.mark.parametrize("fusion", ["late", "early"])
def test_embeddings_for_dot_products_are_stored_without_normalisation(inputs, with_model, fusion):
    settings = with_model({"similarity": "dot", "logit_scale": 0.0, "fusion": fusion})
    out = run(settings, inputs, "out")
    saved = load_model(out)
    products = read_fold(inputs, 0, True).held_out
    views = PhotoViews(ShardReader(Manifest(inputs.shards)), 32)
    predictor = Predictor(saved.model, TextTokenizer(out / "tokenizer"), views, ENGINE, flip=False, photo="first")
    queries = pl.DataFrame({"query_id": ["a", "b"], "text": ["red mug", "blue"]})
    write_embeddings(predictor, products, queries, Path("embedded"), "model", "view")
    pixels = views.load(products.first_photo, [(0,)] * len(products))
    with torch.inference_mode():
        expected = saved.model.embed_image(saved.model.encode_image(pixels)).numpy()
    store = open_store(Path("embedded/products"))
    assert store.header.similarity == open_store(Path("embedded/queries")).header.similarity == "dot"
    # Products of any size: float16 ends at 65504.
    assert store.header.dtype == open_store(Path("embedded/queries")).header.dtype == "float32"
    assert np.allclose(store.rows(products.ids), expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(np.linalg.norm(expected, axis=1), 1, atol=0.02)
