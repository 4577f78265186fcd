"""A search with a product and a text gives what the evaluation ranks, and refuses stores of other towers or models."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from composed_project import SOURCES, composed_config, make_tables, write_composed_project
from model_settings import make_model_params

from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.evaluation.composed import stored_score
from pipeline_lib.evaluation.composed_ranks import GalleryRule, plan_composed_galleries, rank_composed
from pipeline_lib.features.tower_stores import origin_of
from pipeline_lib.loading.products import text_key
from pipeline_lib.metrics import composed as metrics
from pipeline_lib.retrieval.composed_search import open_composed_search
from pipeline_lib.stores.store import HEADER, write_store
from pipeline_lib.towers.kinds import resolve_text_tower, untrained_text_tower
from pipeline_lib.training.composed.fold import train_composed
from pipeline_lib.training.composed.triplets import read_composed_products
from pipeline_lib.transforms.tokenize import TextTokenizer

KINDS = {
    "sum": {},
    "sum gated": {"fusion": "gated"},
    "combiner guided": {"fusion": "guided"},
    "q_former": {"fusion": "gated"},
}


@pytest.fixture(scope="module")
def text_source(tiny_image_folder, tiny_text_folder):
    return resolve_text_tower(make_model_params({"name": str(tiny_image_folder)}, {"name": str(tiny_text_folder)}))


@pytest.fixture(scope="module")
def folders(tmp_path_factory, text_source):
    """A project whose sentences are embedded by a real text tower, as the stage features does."""
    sources = {**SOURCES, "text": text_source}
    folders = write_composed_project(tmp_path_factory.mktemp("composed"), num_shapes=6, sources=sources)
    texts = make_tables(6)["queries"]["text"].unique().sort().to_list()
    ids, mask = TextTokenizer(text_source.description["tokenizer"]).encode_batch(texts, 16)
    with torch.inference_mode():
        vectors = untrained_text_tower(text_source, "cpu").encode(torch.from_numpy(ids), torch.from_numpy(mask))
    keys = [text_key(text) for text in texts]
    write_store(folders.trunk / "text", keys, vectors.numpy(), origin_of("text", text_source), "float32")
    return folders


@pytest.fixture(scope="module")
def trained(folders, text_source, tmp_path_factory):
    """Return the folder of each model, saved with its initial weights."""
    made = {}
    for name, changes in KINDS.items():
        config = composed_config(name.split()[0], epochs=0, **changes)
        config = replace(config, sources={**SOURCES, "text": text_source})
        made[name] = tmp_path_factory.mktemp("models") / name.split()[0] / "0"
        made[name].mkdir(parents=True)
        train_composed(config, folders, 0, name, made[name])
    return made


def forbidden():
    raise AssertionError("this model does not read the text tower")


@pytest.mark.parametrize("name", KINDS)
def test_it_finds_what_the_evaluation_ranks_best(name, trained, folders, text_source):
    products = read_composed_products(folders.catalogue, folders.folds)
    queries, relevance = (pl.read_parquet(folders.catalogue / f"{one}.parquet") for one in ("queries", "relevance"))
    source = forbidden if name == "q_former" else lambda: text_source
    opened = open_composed_search(trained[name], folders.trunk, source)
    held_out, test = plan_composed_galleries(products, queries, relevance, [0])
    both = [*held_out.product_ids, *test.product_ids]
    assert sorted(opened.gallery.ids) == sorted(both)
    for gallery in (held_out, test):
        _, best = rank_composed(gallery, stored_score(trained[name], gallery), GalleryRule(), "", 50)
        expected = dict(best.group_by("query_id").agg(pl.struct("product_id", "score")).iter_rows())
        for query in gallery.queries[::7].iter_rows(named=True):
            found = opened.search(query["reference_product_id"], query["text"], len(both))
            assert query["reference_product_id"] not in dict(found) and len(found) == len(both) - 1
            here = [(key, score) for key, score in found if key in gallery.positions]
            scores = {one["product_id"]: one["score"] for one in expected[query["query_id"]]}
            assert scores.keys() == dict(here).keys()
            np.testing.assert_allclose([scores[key] for key, _ in here], [score for _, score in here], atol=1e-5)
            assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


def test_a_short_list_is_the_beginning_of_a_long_one_whatever_the_block(trained, folders, monkeypatch):
    opened = open_composed_search(trained["q_former"], folders.trunk, forbidden)
    assert opened.gallery.header.dim == 4 * 16  # four vectors a product
    whole = opened.search("p0-red-0", "the same in blue", 100)
    monkeypatch.setattr(metrics, "BLOCK_BYTES", 1)
    assert opened.search("p0-red-0", "the same in blue", 3) == whole[:3]


def test_equal_products_are_in_the_order_of_their_ids(trained, folders):
    opened = open_composed_search(trained["q_former"], folders.trunk, forbidden)
    ids = ["b", "p0-red-0", "c", "a"]
    same = replace(opened.gallery, ids=ids, matrix=np.repeat(np.asarray(opened.gallery.matrix)[:1], 4, axis=0))
    found = replace(opened, gallery=same).search("p0-red-0", "the same in blue", 9)
    assert [key for key, _ in found] == ["a", "b", "c"]


def test_a_product_of_training_is_a_reference_too_and_an_unknown_one_is_refused(trained, folders):
    opened = open_composed_search(trained["q_former"], folders.trunk, forbidden)
    assert "p1-red-0" not in opened.gallery.ids
    assert len(opened.search("p1-red-0", "the same in blue", 100)) == len(opened.gallery.ids)
    with pytest.raises(ValueError, match="no activations for 'p99-red-0#0'"):
        opened.search("p99-red-0", "the same in blue", 3)


@pytest.mark.parametrize("name", KINDS)
def test_texts_of_one_reference_together_give_what_each_gives_alone(name, trained, folders, text_source):
    opened = open_composed_search(trained[name], folders.trunk, lambda: text_source)
    texts, reference = ["the same in blue", "red", "in green and larger"], opened.reference("p0-red-0")
    together = opened.embed(reference, texts)
    alone = np.concatenate([opened.embed(reference, [text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert opened.has_reference("p1-red-0") and not opened.has_reference("p99-red-0")


@pytest.mark.parametrize("name", KINDS)
def test_a_sentence_is_cut_where_the_models_own_tokenizer_cuts_it(name, trained, folders, text_source):
    opened = open_composed_search(trained[name], folders.trunk, lambda: text_source)
    own = opened.saved.model.description.get("q_former", text_source.description)["max_tokens"]
    assert opened.cut_at("in red") is None and opened.cut_at("in red " * own) == own


def test_another_text_tower_is_refused(trained, folders, text_source):
    other = replace(text_source, description={**text_source.description, "max_tokens": 5})
    with pytest.raises(ValueError, match="trained on texts of the tower .* but model.text is"):
        open_composed_search(trained["sum"], folders.trunk, lambda: other)


@pytest.mark.parametrize("store", ["image", "gallery"])
def test_stores_of_another_tower_or_model_are_refused(store, trained, folders, text_source):
    folder = folders.trunk / "image" if store == "image" else trained["sum"] / "products"
    header = read_object(folder / HEADER)
    write_json(folder / HEADER, header | {"encoder": "another"})
    try:
        with pytest.raises(ValueError, match="made by encoder another, but .* is expected; run `dvc repro`"):
            open_composed_search(trained["sum"], folders.trunk, lambda: text_source)
    finally:
        write_json(folder / HEADER, header)


def test_a_missing_model_names_the_settings(tmp_path):
    with pytest.raises(ValueError, match=r"no composed model here; add sum to plan.composed and 3 to plan.folds"):
        open_composed_search(tmp_path / "sum" / "3", tmp_path, forbidden)
