"""A text with a product or a picture is read by the composed model of the project, and found in its own gallery."""

import io
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from running_server import caller
from served_project import SIZE

from pipeline_lib.artifacts import paths
from pipeline_lib.models.composed.saved import load_composed, save_composed
from pipeline_lib.models.saved import read_card
from pipeline_lib.serving.composed import composed_answer
from pipeline_lib.serving.explain import explain
from pipeline_lib.serving.query import Query
from pipeline_lib.shards.read import open_shards
from pipeline_lib.stores.store import open_store, write_store


@pytest.fixture
def model(composing):
    return composing.opened[0].model


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


def test_a_sentence_that_the_composed_model_cuts_is_answered_with_what_it_read(model):
    longest = model.composed.params["model"]["text"]["max_tokens"]
    words = "in red " * longest
    assert model.encode(Query(words, like="p2")).cut_at == longest
    assert composed_answer(model.composed, "p2", words, 5)[1].cut_at == longest
    assert model.encode(Query("in red", like="p2")).cut_at is None
    assert composed_answer(model.composed, "p2", "in red", 5)[1].cut_at is None


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
