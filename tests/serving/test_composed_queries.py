"""A text with a product or a picture is read by the composed model of the project, and found in its own gallery."""

import contextlib
import io
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from composed_project import composed_params
from PIL import Image
from ruamel.yaml import YAML
from running_server import caller
from served_project import SIZE

from pipeline_lib.artifacts import paths
from pipeline_lib.features.tower_stores import origin_of
from pipeline_lib.loading.products import photo_key, text_key
from pipeline_lib.models.composed.saved import load_composed, save_composed
from pipeline_lib.models.saved import read_card
from pipeline_lib.params.section import load_params
from pipeline_lib.serving.composed import composed_answer
from pipeline_lib.serving.explain import explain
from pipeline_lib.serving.limits import Limits
from pipeline_lib.serving.query import Query
from pipeline_lib.serving.server import Place, make_service
from pipeline_lib.shards.read import open_shards
from pipeline_lib.stores.store import open_store, write_store
from pipeline_lib.towers.kinds import resolve_towers, untrained_image_tower, untrained_text_tower
from pipeline_lib.training.composed.fold import ComposedConfig, ComposedFolders, train_composed
from pipeline_lib.training.model_setup import ModelParams
from pipeline_lib.transforms.decode import decode
from pipeline_lib.transforms.image import fixed_view
from pipeline_lib.transforms.tokenize import TextTokenizer

TEXTS = ("in red", "in blue")


@pytest.fixture(scope="module")
def composing(served_root, tmp_path_factory):
    """The service of a project with a composed model of initial weights over features of the untrained towers."""
    root = shutil.copytree(served_root, tmp_path_factory.mktemp("composed") / "project")
    with contextlib.chdir(root):
        params = load_params()
        params["plan"]["composed"] = ["sum"]
        params["model"] |= {"fusion": "late"}
        with (root / "params.yaml").open("w", encoding="utf-8") as stream:
            YAML(typ="safe").dump(params, stream)
        sources = resolve_towers(ModelParams.model_validate(params["model"]))
        _write_queries(root)
        _write_trunk(root, sources)
        folders = ComposedFolders(paths.CATALOGUE, paths.FOLDS, paths.features_of("trunk"))
        out = paths.composed_of("sum", 0)
        out.mkdir(parents=True)
        config = ComposedConfig("sum", composed_params(epochs=0), sources, "cpu")
        train_composed(config, folders, 0, "served", out)
        made = make_service([Place(0)], None, Limits())
        yield made
        made.close()


@pytest.fixture
def model(composing):
    return composing.opened[0].model


def _write_queries(root):
    queries = pl.read_parquet(paths.CATALOGUE / "queries.parquet")
    composed = pl.DataFrame(
        {"query_id": ["c1", "c2"], "kind": "composed", "text": list(TEXTS), "reference_product_id": ["p6", "p2"]},
    ).with_columns(subset=pl.lit([], pl.List(pl.String)), split=pl.lit(None, pl.String))
    plain = queries.with_columns(reference_product_id=pl.lit(None, pl.String), subset=pl.lit([], pl.List(pl.String)))
    pl.concat([plain.select(composed.columns), composed]).write_parquet(paths.CATALOGUE / "queries.parquet")
    relevance = pl.read_parquet(paths.CATALOGUE / "relevance.parquet")
    more = pl.DataFrame({"query_id": ["c1", "c2"], "product_id": ["p7", "p3"], "grade": [1, 1]})
    pl.concat([relevance, more.cast(relevance.schema)]).write_parquet(paths.CATALOGUE / "relevance.parquet")


def _write_trunk(root, sources):
    shards, tower = open_shards(root / paths.SHARDS, None), untrained_image_tower(sources["image"], "cpu")
    ids = pl.read_parquet(paths.CATALOGUE / "products.parquet")["product_id"].to_list()
    views = [fixed_view(decode(shards.read(shards.manifest.photos_of(key)[0])), SIZE) for key in ids]
    with torch.inference_mode():
        photos = tower.encode(torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2)).numpy()
        description = sources["text"].description
        token_ids, mask = TextTokenizer(description["tokenizer"]).encode_batch(list(TEXTS), description["max_tokens"])
        texts = untrained_text_tower(sources["text"], "cpu").encode(torch.from_numpy(token_ids), torch.from_numpy(mask))
    trunk = root / paths.features_of("trunk")
    keys = [photo_key(key, 0) for key in ids]
    write_store(trunk / "image", keys, photos, origin_of("image", sources["image"]), "float32")
    text_keys = [text_key(text) for text in TEXTS]
    write_store(trunk / "text", text_keys, texts.numpy(), origin_of("text", sources["text"]), "float32")


def test_a_product_with_a_text_gives_what_the_composed_search_gives(model):
    from pipeline_lib.serving.query import Job

    query = Query("in red", like="p2")
    encoded = model.encode(query)
    assert encoded.method == "composed sum" and encoded.composed
    (answer,) = model.answer([Job(query, 5, encoded=encoded)])
    expected = model.composed.search.search("p2", "in red", 5)
    assert [model.catalogue.ids[one.row] for one in answer.found] == [key for key, _ in expected]
    assert [one.score for one in answer.found] == pytest.approx([score for _, score in expected], abs=1e-6)
    assert answer.searched == len(model.composed.search.gallery.ids) < 36
    assert model.scores([encoded], answer.found[0].row) == pytest.approx([answer.found[0].score], abs=1e-6)


def test_a_project_without_an_index_names_the_method_as_one_with_an_index_does(model):
    catalogue, answer = composed_answer(model.composed, "p2", "in red", 5)
    assert answer.method == model.encode(Query("in red", like="p2")).method == "composed sum"
    found = [(catalogue.ids[one.row], one.score) for one in answer.found]
    assert found == model.composed.search.search("p2", "in red", 5)


def test_a_composed_model_that_cannot_be_opened_is_an_error_and_not_the_sum(model):
    params = {**model.composed.params, "model": {**model.composed.params["model"]}}
    params["model"]["text"] = params["model"]["text"] | {"max_tokens": 5}
    stale = replace(model, composed=replace(model.composed, params=params))
    with pytest.raises(ValueError, match="trained on texts of the tower .* run `dvc repro`"):
        stale.encode(Query("in red", like="p2"))


@pytest.fixture
def trained_again(model, tmp_path):
    """The served model with its composed model not loaded yet, while the folder has another one with its gallery."""
    folder = paths.composed_of("sum", 0)
    before = shutil.copytree(folder, tmp_path / "before")
    saved, gallery = load_composed(folder), open_store(folder / "products")
    with torch.no_grad():
        for value in saved.model.parameters():
            value.add_(0.1)
    encoder = save_composed(folder, saved.model, saved.card["run"])
    ids, vectors = gallery.ids, np.array(gallery.matrix)
    write_store(folder / "products", ids, vectors, (encoder, gallery.header.preprocessing), gallery.header.dtype)
    yield replace(model, composed=replace(model.composed))
    shutil.rmtree(folder)
    before.rename(folder)


def test_a_composed_model_that_was_trained_again_is_not_loaded(trained_again, composing):
    with pytest.raises(ValueError, match="composed model sum of fold 0: replaced or removed since the server started"):
        trained_again.encode(Query("in red", like="p2"))
    again = replace(composing, opened=[replace(composing.opened[0], model=trained_again)])
    answer = caller(again)("GET", "/api/search", params={"q": "in red", "like": "p2"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "replaced")
    again.close()


def test_a_product_without_stored_features_is_added_to_the_text(model, monkeypatch):
    without = replace(model.composed.search.image, ids=["p1#0"])
    monkeypatch.setitem(vars(model.composed), "search", replace(model.composed.search, image=without))
    assert model.encode(Query("in red", like="p2")).method == "sum"
    assert model.encode(Query("in red", like="p1")).method == "composed sum"


def test_words_of_a_picture_with_a_text_count_by_the_score_without_them_in_one_pass_of_the_image(
    model, served_root, monkeypatch
):
    shards = open_shards(served_root / paths.SHARDS, None)
    view = model.pictures.view(shards.read(shards.manifest.photos_of("p2")[0]), 1e6)
    row = model.catalogue.row_of[model.composed.search.gallery.ids[0]]
    passes, tower = [], model.composed._tower
    encode = tower.encode
    monkeypatch.setattr(tower, "encode", lambda pixels: passes.append(len(pixels)) or encode(pixels))
    explained = explain(model, Query("in bright red", view), row, None, None)
    assert passes == [1]
    score, *without = (model.scores([model.encode(Query(text, view))], row)[0] for text in (
        "in bright red", "bright red", "in red", "in bright"))  # fmt: skip
    assert explained.score == pytest.approx(score, abs=1e-6)
    assert [word.change for word in explained.words] == pytest.approx([score - one for one in without], abs=2e-6)


def test_a_product_that_the_composed_gallery_lacks_is_not_explained(composing, model):
    """The model was trained on it, so no search of this kind returns it; an address may still name it."""
    lacking = min(set(model.catalogue.ids) - set(model.composed.search.gallery.ids))
    asked = {"q": "in red", "like": "p2", "product": lacking}
    answer = caller(composing)("POST", "/api/explain", data=asked)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_product")
    message = answer.json()["error"]["message"]
    assert f"{lacking!r} is not in the gallery of the composed sum model of fold 0" in message
    known = asked | {"product": model.composed.search.gallery.ids[0]}
    assert len(caller(composing)("POST", "/api/explain", data=known).json()["words"]) == 2


def test_the_picture_of_a_product_gives_what_the_product_gives(model, served_root):
    shards = open_shards(served_root / paths.SHARDS, None)
    view = model.pictures.view(shards.read(shards.manifest.photos_of("p2")[0]), 1e6)
    picture, product = model.encode(Query("in red", view)), model.encode(Query("in red", like="p2"))
    assert picture.method == "composed sum"
    np.testing.assert_allclose(picture.vector, product.vector, atol=1e-5)


def test_pictures_of_another_size_than_that_of_training_are_added_to_the_text(model):
    other = replace(model, pictures=replace(model.pictures, size=40))
    stream = io.BytesIO()
    Image.new("RGB", (50, 50), "red").save(stream, "PNG")
    assert other.encode(Query("in red", other.pictures.view(stream.getvalue(), 1e6))).method == "sum"


def test_a_tower_that_changed_since_is_refused(model):
    params = {**model.composed.params, "model": {**model.composed.params["model"], "embedding_dim": 8}}
    params["model"]["image"] = params["model"]["image"] | {"mean": [0.1, 0.2, 0.3]}
    changed = replace(model.composed, params=params)
    assert read_card(paths.composed_of("sum", 0))["run"]["towers"]["image"]
    with pytest.raises(ValueError, match="composed model sum of fold 0: trained on photos of the tower"):
        changed.embed_picture(np.zeros((SIZE, SIZE, 3), np.uint8), ["in red"])
