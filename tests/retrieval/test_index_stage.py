"""The stage index, run on hand-made embeddings of a gallery: what a product's vector is, and whose index it is."""

import sys

import numpy as np
import pytest
from embedded_project import make_project, unit_rows

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.params.section import load_params
from pipeline_lib.retrieval.faiss_index import Fingerprints
from pipeline_lib.retrieval.gallery_vectors import gallery_vectors
from pipeline_lib.retrieval.search import open_index
from pipeline_lib.stores.store import open_store, write_store
from stages import index

MODEL = ("model-1", "64px")


def stores(folder, photos, texts, similarity="cosine", models=(MODEL, MODEL)):
    """Write both stores from ids -> vectors, and open them."""
    for name, rows, model in zip(("photos", "texts"), (photos, texts), models, strict=True):
        matrix = np.array(list(rows.values()), np.float32).reshape(len(rows), -1)
        write_store(folder / name, list(rows), matrix, model, "float32", similarity)
    return open_store(folder / "photos"), open_store(folder / "texts")


@pytest.fixture
def gallery(tmp_path, monkeypatch):
    make_project(tmp_path, monkeypatch)
    monkeypatch.setattr(sys, "argv", ["stages.index", "--kind", "flat", "--fold", "1"])
    rows = unit_rows(np.random.default_rng(3), 8)
    photos = {f"p{number}": rows[number] for number in (4, 0, 2)}
    texts = {f"p{number}": rows[number + 3] for number in (1, 2, 4)}
    stores(paths.gallery_of(1), photos, texts)
    return photos, texts


def test_a_hand_worked_gallery(tmp_path):
    photos, texts = stores(tmp_path, {"b": [1, 0], "a": [0, 1]}, {"b": [0, 1], "c": [-1, 0]})
    ids, vectors = gallery_vectors(photos, texts, 0.75)
    assert ids == ["a", "b", "c"]
    # b: .75 (1, 0) + .25 (0, 1), of unit length; a has only a photo, c only a text.
    length = (0.75**2 + 0.25**2) ** 0.5
    assert np.allclose(vectors, [[0, 1], [0.75 / length, 0.25 / length], [-1, 0]], atol=1e-6)


def test_vectors_for_a_dot_product_keep_their_length(tmp_path):
    photos, texts = stores(tmp_path, {"a": [3, 0], "b": [2, 2]}, {"a": [0, 1]}, "dot")
    assert np.allclose(gallery_vectors(photos, texts, 0.5)[1], [[1.5, 0.5], [2, 2]])


def test_photos_or_texts_alone_are_the_ends_of_the_weight(tmp_path):
    photos, texts = stores(tmp_path, {"a": [1, 0], "b": [0, 1]}, {"a": [0, 1], "c": [1, 0]})
    assert np.allclose(gallery_vectors(photos, texts, 1.0)[1], [[1, 0], [0, 1], [1, 0]])
    assert np.allclose(gallery_vectors(photos, texts, 0.0)[1], [[0, 1], [0, 1], [1, 0]])


def test_photos_and_texts_of_two_models_are_refused(tmp_path):
    photos, texts = stores(tmp_path, {"a": [1, 0]}, {"a": [0, 1]}, models=(MODEL, ("model-2", "64px")))
    with pytest.raises(ValueError, match="texts: embedded by model-2, but .*photos by model-1"):
        gallery_vectors(photos, texts, 0.5)


def test_the_index_holds_every_product_once_and_answers_for_its_own_model_alone(gallery):
    photos, texts = gallery
    index.main()
    folder = paths.index_of("flat", 1)
    assert read_object(folder / "manifest.json")["count"] == 4
    opened = open_index(folder, Fingerprints(*MODEL))
    assert opened.search(photos["p0"][None], 1)[0][0].product_id == "p0"
    assert opened.search(texts["p1"][None], 1)[0][0].product_id == "p1"
    weight = load_params()["index"]["photo_weight"]
    both = (weight * photos["p4"] + (1 - weight) * texts["p4"])[None]
    (hit,) = opened.search(both / np.linalg.norm(both), 1)[0]
    assert (hit.product_id, hit.score) == ("p4", pytest.approx(1, abs=1e-6))
    with pytest.raises(ValueError, match="built with model model-1"):
        open_index(folder, Fingerprints("model-0", "64px"))


def test_indexing_a_model_without_embeddings_is_an_error(tmp_path, monkeypatch, capsys):
    make_project(tmp_path, monkeypatch)
    paths.gallery_of(0).mkdir(parents=True)
    monkeypatch.setattr(sys, "argv", ["stages.index", "--kind", "hnsw", "--fold", "0"])
    with pytest.raises(SystemExit):
        index.main()
    assert "no embeddings to compare; set the weight of losses.info_nce" in (message := capsys.readouterr().err)
    assert "or set plan.search to []" in message


def test_vectors_of_some_products_are_rows_of_all_to_the_bit(tmp_path):
    rows = unit_rows(np.random.default_rng(4), 60)
    photos, texts = stores(
        tmp_path,
        {f"p{number}": rows[number] for number in range(0, 40)},
        {f"p{number}": rows[number] for number in range(59, 20, -1)},
    )
    ids, vectors = gallery_vectors(photos, texts, 0.3)
    wanted = {"p3", "p30", "p55", "p39", "nobody"}
    some, own = gallery_vectors(photos, texts, 0.3, wanted)
    assert some == sorted(wanted - {"nobody"})
    assert own.tobytes() == vectors[[ids.index(key) for key in some]].tobytes()
    nobody, empty = gallery_vectors(photos, texts, 0.3, {"nobody"})
    assert nobody == [] and empty.shape == (0, photos.header.dim)
