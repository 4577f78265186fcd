"""FAISS indexes: the same bytes, the manifest, and settings that fit a small catalogue."""

from typing import get_args

import numpy as np
import pytest
from fuzzing import peak_memory

from pipeline_lib.artifacts.digests import digest_folder
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.params.index import IndexParams
from pipeline_lib.params.plan import IndexKind
from pipeline_lib.retrieval.faiss_index import INDEX_KINDS, Fingerprints, build_index
from pipeline_lib.retrieval.search import open_index

SOURCE = Fingerprints("model-1", "64px")
PARAMS = IndexParams(photo_weight=0.5, lists=8, probes=4, pq_bytes=8, links=8, build_beam=40, search_beam=32)


def unit_rows(count, dim=16, seed=0):
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def ids_of(rows):
    return [f"p{number}" for number in range(len(rows))]


def test_kinds_are_those_that_params_allow():
    assert set(INDEX_KINDS) == set(get_args(IndexKind))


@pytest.mark.parametrize("kind", sorted(INDEX_KINDS))
def test_equal_products_give_equal_bytes(kind, tmp_path):
    products = unit_rows(500)
    for name in ("first", "second"):
        build_index(tmp_path / name, kind, ids_of(products), products, SOURCE, PARAMS)
    assert digest_folder(tmp_path / "first") == digest_folder(tmp_path / "second")


def test_the_manifest_names_model_and_preprocessing(tmp_path):
    products = unit_rows(400)
    manifest = build_index(tmp_path, "ivf", ids_of(products), products, SOURCE, PARAMS)
    assert manifest == read_object(tmp_path / "manifest.json")
    assert manifest == {
        "kind": "ivf",
        "dim": 16,
        "count": 400,
        "model": "model-1",
        "preprocessing": "64px",
        "metric": "inner_product",
        "max_norm": pytest.approx(1.0),
        "bytes": (tmp_path / "index.faiss").stat().st_size,
        "settings": {"lists": 8, "lists_asked": 8, "probes": 4},
    }


@pytest.mark.parametrize(("count", "lists", "probes"), [(3, 1, 1), (100, 2, 2), (312, 8, 4)])
def test_a_small_catalogue_gets_as_many_lists_as_it_can_train(count, lists, probes, tmp_path, capfd):
    products = unit_rows(count)
    manifest = build_index(tmp_path, "ivf", ids_of(products), products, SOURCE, PARAMS)
    assert manifest["settings"] == {"lists": lists, "lists_asked": 8, "probes": probes}
    assert "WARNING" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("count", "dim", "expected"),
    [
        (2, 16, {"lists": 1, "codes": 8, "bits": 1}),
        (400, 16, {"lists": 8, "codes": 8, "bits": 3}),
        (400, 18, {"lists": 8, "codes": 6, "bits": 3}),
        (400, 6, {"lists": 8, "codes": 6, "bits": 3}),
    ],
)
def test_a_compressed_index_gets_the_codes_that_fit_and_the_bits_it_can_train(count, dim, expected, tmp_path, capfd):
    products = unit_rows(count, dim)
    manifest = build_index(tmp_path, "ivf_pq", ids_of(products), products, SOURCE, PARAMS)
    assert {name: manifest["settings"][name] for name in expected} == expected
    assert manifest["settings"]["codes_asked"] == 8 and "WARNING" not in capfd.readouterr().err


def test_a_compressed_index_of_one_product_is_refused(tmp_path):
    with pytest.raises(ValueError, match="ivf_pq needs at least 2 products to train, but there is one; use flat"):
        build_index(tmp_path, "ivf_pq", ["a"], unit_rows(1), SOURCE, PARAMS)


def test_a_compressed_index_stores_pq_bytes_per_vector(tmp_path, capfd):
    products = unit_rows(9984, 64)
    manifest = build_index(tmp_path / "ivf_pq", "ivf_pq", ids_of(products), products, SOURCE, PARAMS)
    assert {name: manifest["settings"][name] for name in ("lists", "codes", "bits")} == {
        "lists": 8,
        "codes": 8,
        "bits": 8,
    }
    assert "WARNING" not in capfd.readouterr().err
    size = manifest["bytes"]
    # 8 bytes of codes and 8 of the product's number; the centroids of 8 lists and of 8 parts have 64 floats each.
    stored, centroids = 9984 * (PARAMS.pq_bytes + 8), (8 + 256) * 64 * 4
    assert 0 < size - stored - centroids < 1_000
    assert size < build_index(tmp_path / "flat", "flat", ids_of(products), products, SOURCE, PARAMS)["bytes"] / 10


def test_ids_and_products_must_match(tmp_path):
    with pytest.raises(ValueError, match="1 ids and 2 embeddings"):
        build_index(tmp_path, "flat", ["a"], unit_rows(2), SOURCE, PARAMS)
    with pytest.raises(ValueError, match="0 ids and 0 embeddings"):
        build_index(tmp_path, "flat", [], unit_rows(0), SOURCE, PARAMS)


@pytest.mark.parametrize("kind", ["ivf", "ivf_pq", "hnsw"])
def test_a_damaged_header_takes_little_memory_and_is_one_line(tmp_path, kind):
    """A count of a billion vectors would be believed: 8 bytes each, before the file is found to be too short."""
    rows = unit_rows(200, 8)
    build_index(tmp_path, kind, ids_of(rows), rows, SOURCE, PARAMS)
    file = tmp_path / "index.faiss"
    sound, refused = file.read_bytes(), []
    for place in (*range(64), *range(64, 2400, 3)):
        data = bytearray(sound)
        data[place] ^= 0x41
        file.write_bytes(data)
        before = peak_memory()
        try:
            open_index(tmp_path, SOURCE).search(rows[:2], 3)
        except ValueError as error:
            assert str(tmp_path) in str(error) and "\n" not in str(error)
            refused.append(str(error))
        assert peak_memory() - before < 800_000_000, place
    assert any("bad_alloc" in line for line in refused)
