"""Searching an index: exact results, memory mapping, and what is refused."""

from pathlib import Path

import faiss
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.params.index import IndexParams
from pipeline_lib.retrieval.faiss_index import INDEX_KINDS, Fingerprints, build_index
from pipeline_lib.retrieval.search import BLAS_THRESHOLD, open_index

SOURCE = Fingerprints("model-1", "64px")
PARAMS = IndexParams(photo_weight=0.5, lists=8, probes=8, pq_bytes=8, links=16, build_beam=100, search_beam=200)


def unit_rows(count, dim=16, seed=0):
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def folder(tmp_path):
    products = unit_rows(50)
    build_index(tmp_path, "flat", [f"p{number}" for number in range(50)], products, SOURCE, PARAMS)
    return tmp_path


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 60))
@settings(max_examples=10)
def test_flat_equals_a_sorted_matrix_product(seed, k, tmp_path_factory):
    folder = tmp_path_factory.mktemp("index")
    products, queries = unit_rows(40, seed=seed), unit_rows(3, seed=seed + 1)
    build_index(folder, "flat", [f"p{number}" for number in range(40)], products, SOURCE, PARAMS)
    for query, hits in zip(queries, open_index(folder, SOURCE).search(queries, k), strict=True):
        scores = products @ query
        order = np.argsort(-scores)[:k]
        assert [hit.product_id for hit in hits] == [f"p{number}" for number in order]
        assert [hit.score for hit in hits] == pytest.approx(scores[order], abs=1e-5)


def test_batches_of_a_few_queries_are_matrix_products(folder, monkeypatch):
    """A setting of queries x width decides: as FAISS has it, no batch of this project would reach it."""
    monkeypatch.setattr(faiss.cvar, "distance_compute_blas_threshold", BLAS_THRESHOLD)
    open_index(folder, SOURCE).search(unit_rows(3), 5)
    a_thread = faiss.cvar.distance_compute_blas_threshold / faiss.omp_get_max_threads()
    assert a_thread == 1_000 < 20 * 64 < BLAS_THRESHOLD


@pytest.mark.parametrize("kind", sorted(INDEX_KINDS.keys() - {"ivf_pq"}))
def test_every_exact_kind_finds_a_product_by_its_own_embedding(kind, tmp_path):
    products = unit_rows(400)
    build_index(tmp_path, kind, [f"p{number}" for number in range(400)], products, SOURCE, PARAMS)
    result = open_index(tmp_path, SOURCE).search(products[:50], 1)
    assert [hits[0].product_id for hits in result] == [f"p{number}" for number in range(50)]
    assert [hits[0].score for hits in result] == pytest.approx([1.0] * 50, abs=1e-5)


def test_a_compressed_index_finds_most_results_of_the_flat_one(tmp_path):
    """Products are clustered, as in a catalogue, so the neighbours of a query are in its cluster."""
    rng = np.random.default_rng(0)
    centres = unit_rows(40, 32)
    products = centres.repeat(50, axis=0) + 0.15 * rng.standard_normal((2000, 32)).astype(np.float32)
    products /= np.linalg.norm(products, axis=1, keepdims=True)
    ids = [f"p{number}" for number in range(2000)]
    results = {}
    for kind, codes in (("flat", 8), ("ivf_pq", 4), ("ivf_pq", 32)):
        folder = tmp_path / f"{kind}-{codes}"
        build_index(folder, kind, ids, products, SOURCE, PARAMS.model_copy(update={"pq_bytes": codes}))
        hits = open_index(folder, SOURCE).search(products[:200], 10)
        results[kind, codes] = [{hit.product_id for hit in of_query} for of_query in hits]
    recall = {
        codes: np.mean([len(a & b) / 10 for a, b in zip(results["flat", 8], results["ivf_pq", codes], strict=True)])
        for codes in (4, 32)
    }
    assert recall[32] > 0.8 > recall[4] > 0.3


@pytest.mark.parametrize("kind", sorted(INDEX_KINDS))
def test_a_memory_mapped_index_gives_the_results_of_a_loaded_one(kind, tmp_path):
    products = unit_rows(500)
    build_index(tmp_path, kind, [f"p{number}" for number in range(500)], products, SOURCE, PARAMS)
    opened = open_index(tmp_path, SOURCE)
    assert str(tmp_path / "index.faiss") in Path("/proc/self/maps").read_text()
    loaded = faiss.read_index(str(tmp_path / "index.faiss"))
    scores, rows = loaded.search(products[:30], 5)
    assert [[hit.product_id for hit in hits] for hits in opened.search(products[:30], 5)] == [
        [f"p{row}" for row in of_query if row >= 0] for of_query in rows
    ]
    assert [hits[0].score for hits in opened.search(products[:30], 5)] == pytest.approx(scores[:, 0], abs=1e-6)


@pytest.mark.parametrize("kind", sorted(INDEX_KINDS))
@pytest.mark.parametrize("num_queries", [1, 24])
def test_equal_products_are_in_the_order_of_their_ids_for_any_k(kind, num_queries, tmp_path):
    """FAISS alone gives other copies first for another k, and from 20 queries on its scores are those of BLAS."""
    rng = np.random.default_rng(2)
    products = unit_rows(500, 24)
    num_copies = 10 if kind == "hnsw" else 60  # its graph of 16 links does not reach all of 60 equal products
    copies = np.sort(rng.choice(500, num_copies, replace=False))
    products[copies] = products[copies[0]]
    ids = np.array([f"p{number:03d}" for number in rng.permutation(500)])
    build_index(tmp_path, kind, ids.tolist(), products, SOURCE, PARAMS.model_copy(update={"search_beam": 500}))
    index = open_index(tmp_path, SOURCE)
    queries = np.repeat(products[copies[:1]], num_queries, axis=0)
    (longest, *_) = index.search(queries, 100)
    assert [hit.product_id for hit in longest[:num_copies]] == sorted(ids[copies].tolist())
    for k in (1, 2, 7, num_copies - 1, num_copies + 1):
        for hits in index.search(queries, k):
            assert hits == longest[:k]


@pytest.mark.parametrize("seed", [1, 3])
def test_equal_products_do_not_hide_others(seed, tmp_path):
    """HNSW, 600 copies beside 3,000 others: FAISS alone does not find 1.7 % of the others by their own vectors."""
    products = unit_rows(3600, 32, seed=seed)
    rows = np.random.default_rng(seed).permutation(3600)
    copies, others = np.split(rows, [600])
    products[copies] = products[copies[0]]
    wide = PARAMS.model_copy(update={"links": 32, "build_beam": 200, "search_beam": 64})
    build_index(tmp_path, "hnsw", [f"p{row}" for row in range(3600)], products, SOURCE, wide)
    index = open_index(tmp_path, SOURCE)
    found = index.search(products[others], 10)
    lost = np.mean([f"p{row}" not in [hit.product_id for hit in hits] for row, hits in zip(others, found, strict=True)])
    assert lost < 0.002
    (listed,) = index.search(products[copies[:1]], 600)
    assert len({hit.product_id for hit in listed} & {f"p{row}" for row in copies}) > 510  # by FAISS alone 483 and 503
    assert (index.index.reconstruct_n(0, 3600) == products).all()


def test_an_index_of_equal_products_lists_them_by_id(tmp_path):
    products = np.repeat(unit_rows(1), 300, axis=0)
    ids = [f"p{number:03d}" for number in np.random.default_rng(3).permutation(300)]
    build_index(tmp_path, "flat", ids, products, SOURCE, PARAMS)
    for hits in open_index(tmp_path, SOURCE).search(unit_rows(3, seed=4), 5):
        assert [hit.product_id for hit in hits] == sorted(ids)[:5]


def test_missing_results_of_an_approximate_index_are_left_out(tmp_path):
    products = unit_rows(100)
    narrow = PARAMS.model_copy(update={"lists": 2, "probes": 1})
    build_index(tmp_path, "ivf", [f"p{number}" for number in range(100)], products, SOURCE, narrow)
    (hits,) = open_index(tmp_path, SOURCE).search(products[:1], 100)
    assert 0 < len(hits) < 100


def test_an_index_of_another_model_is_refused(folder):
    with pytest.raises(ValueError, match="built with model model-1, but the queries use model-2"):
        open_index(folder, Fingerprints("model-2", "64px"))
    with pytest.raises(ValueError, match="built with preprocessing 64px, but the queries use 80px"):
        open_index(folder, Fingerprints("model-1", "80px"))


def test_a_truncated_index_is_refused(folder):
    index = folder / "index.faiss"
    index.write_bytes(index.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"index\.faiss: damaged.*truncated: \d+ bytes of \d+"):
        open_index(folder, SOURCE)
    index.unlink()
    with pytest.raises(ValueError, match=r"index\.faiss: damaged.*truncated: 0 bytes"):
        open_index(folder, SOURCE)


def test_ids_of_another_catalogue_are_refused(folder):
    pl.DataFrame({"product_id": ["a", "b"]}).write_parquet(folder / "ids.parquet")
    with pytest.raises(ValueError, match="2 ids, 50 vectors, 50 in the manifest"):
        open_index(folder, SOURCE)


def test_a_missing_index_error_names_plan_index(tmp_path):
    with pytest.raises(ValueError, match=r"no index here .* plan\.index"):
        open_index(tmp_path / "flat-0", SOURCE)


def test_bad_queries_are_refused(folder):
    index = open_index(folder, SOURCE)
    with pytest.raises(ValueError, match="the index has vectors of width 16"):
        index.search(unit_rows(1, dim=8), 1)
    with pytest.raises(ValueError, match="k = 0"):
        index.search(unit_rows(1), 0)
