"""Embeddings of all products for search: those of the metrics are copied, the others are what the model predicts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tiny_project import make_settings, write_project

from pipeline_lib.inference import gallery
from pipeline_lib.inference.embeddings import read_predicted, read_queries, write_embeddings
from pipeline_lib.inference.engine import InferenceEngine
from pipeline_lib.inference.opening import OpenModel
from pipeline_lib.inference.predict import Predictor
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.loading.products import as_arrays, read_products
from pipeline_lib.models.saved import load_model
from pipeline_lib.shards.read import open_shards
from pipeline_lib.stores.store import open_store
from pipeline_lib.training.fold import train_fold
from pipeline_lib.transforms.tokenize import TextTokenizer

ENGINE = InferenceEngine("cpu", 5, 0, "fp32")
MODEL = ("model", "view")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A project whose product p2 has no photo, as data.missing_image = black keeps it; p5 has no text."""
    inputs = write_project(tmp_path_factory.mktemp("project"))
    table = inputs.catalogue / "products.parquet"
    products = pl.read_parquet(table)
    without = pl.when(pl.col("product_id") == "p2").then(pl.lit([], pl.List(pl.String))).otherwise("media")
    products.with_columns(without.alias("media")).write_parquet(table)
    return inputs


@pytest.fixture(scope="module")
def opened(inputs, tmp_path_factory, tiny_image_folder, tiny_text_folder):
    folder = tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITRINE_CHECKPOINTS", str(tmp_path_factory.mktemp("checkpoints")))
        train_fold(make_settings(tiny_image_folder, tiny_text_folder, epochs=1), inputs, 0, "gallery", folder)
    views = PhotoViews(open_shards(inputs.shards, None), 32)
    predictor = Predictor(load_model(folder).model, TextTokenizer(folder / "tokenizer"), views, ENGINE, True, "first")
    return OpenModel(predictor, *MODEL, "")


@pytest.fixture(scope="module")
def written(inputs, opened, tmp_path_factory):
    """The folder of the stage embed for fold 0, and that of the gallery."""
    embedded, out = tmp_path_factory.mktemp("embed"), tmp_path_factory.mktemp("gallery")
    held_out = as_arrays(read_predicted(inputs.catalogue, inputs.folds, manifest(inputs), 0), opened.classes)
    queries = read_queries(inputs.catalogue, held_out.ids)
    write_embeddings(opened.predictor, held_out, queries, embedded, *MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "BLOCK", 7)
        ready = gallery.open_embedded(embedded, opened)
        gallery.write_gallery(opened, table_of(inputs), ready, out)
    return embedded, out


def manifest(inputs) -> Path:
    return inputs.shards / "manifest.parquet"


def table_of(inputs):
    return read_products(inputs.catalogue, inputs.folds, manifest(inputs))


def test_every_product_with_a_photo_has_the_embedding_that_the_model_predicts(inputs, opened, written):
    photos = open_store(written[1] / "photos", *MODEL)
    table = table_of(inputs)
    assert sorted(photos.ids) == sorted(set(table["product_id"]) - {"p2"})
    slow = {}
    for row in range(len(table)):
        one = as_arrays(table[row : row + 1], opened.classes)
        (block,) = opened.predictor.predict(one)
        slow[one.ids[0]] = block.embeddings[0]
    np.testing.assert_allclose(photos.rows(photos.ids), [slow[key] for key in photos.ids], atol=2e-3)
    assert np.std([slow[key] for key in photos.ids], axis=0).max() > 0.01


def test_held_out_photos_are_copied_to_the_bit(inputs, written):
    embedded, photos = open_store(written[0] / "products"), open_store(written[1] / "photos")
    held_out = [key for key in embedded.ids if key != "p2"]
    assert 0 < len(held_out) < len(photos.ids)
    assert np.array_equal(photos.rows(held_out), embedded.rows(held_out))


def test_every_product_with_a_text_has_the_embedding_of_that_query(inputs, opened, written):
    texts, table = open_store(written[1] / "texts", *MODEL), table_of(inputs)
    known = dict(table.select("product_id", "text").iter_rows())
    assert sorted(texts.ids) == sorted(set(known) - {"p5"})
    slow = [opened.predictor.embed_texts([known[key]])[0] for key in texts.ids]
    np.testing.assert_allclose(texts.rows(texts.ids), slow, atol=2e-3)


def test_the_classifier_is_not_run_for_the_gallery(inputs, opened, written, tmp_path, monkeypatch):
    monkeypatch.setattr(type(opened.predictor.model), "classify", lambda *_: pytest.fail("a class was predicted"))
    ready = gallery.open_embedded(written[0], opened)
    gallery.write_gallery(opened, table_of(inputs), ready, tmp_path)
    assert open_store(tmp_path / "photos").header == open_store(written[1] / "photos").header


def test_embeddings_of_another_model_are_refused_and_a_model_without_them_has_none(opened, written, tmp_path):
    with pytest.raises(ValueError, match="made by encoder model, but other is expected"):
        gallery.open_embedded(written[0], replace(opened, fingerprint="other"))
    assert gallery.open_embedded(tmp_path, opened) is None
