"""Fused embeddings: the mean over scales, the concatenation over folds, and what cannot be fused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.ensembling.embeddings import fuse_folds, fuse_scales, fused_identity
from pipeline_lib.stores.store import open_store, write_store


def unit_rows(rng, count, dim):
    rows = rng.standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def store_of(folder, ids, matrix, encoder="m", preprocessing="64px", similarity="cosine"):
    write_store(folder, ids, matrix, (encoder, preprocessing), dtype="float32", similarity=similarity)
    return open_store(folder)


def test_scales_are_averaged_by_id_and_normalised(tmp_path):
    small = store_of(tmp_path / "64", ["a", "b"], np.array([[1, 0], [0, 1]], np.float32))
    large = store_of(tmp_path / "80", ["b", "a"], np.array([[0, 1], [0, 1]], np.float32))
    fused = fuse_scales([small, large], ["b", "a"])
    assert fused == pytest.approx(np.array([[0, 1], [np.sqrt(0.5), np.sqrt(0.5)]]))


def test_one_scale_is_unchanged_and_opposite_scales_stay_finite(tmp_path):
    rows = unit_rows(np.random.default_rng(0), 2, 4)
    store, opposite = store_of(tmp_path / "64", ["a", "b"], rows), store_of(tmp_path / "80", ["a", "b"], -rows)
    assert fuse_scales([store], ["a", "b"]) == pytest.approx(rows, abs=1e-6)
    assert fuse_scales([store, opposite], ["a", "b"]).tolist() == [[0] * 4] * 2


def test_scales_compared_by_dot_product_keep_their_mean_length(tmp_path):
    small = store_of(tmp_path / "64", ["a"], np.array([[3, 0]], np.float32), similarity="dot")
    large = store_of(tmp_path / "80", ["a"], np.array([[1, 4]], np.float32), similarity="dot")
    assert fuse_scales([small, large], ["a"]).tolist() == [[2, 2]]
    assert fuse_scales([small], ["a"]).tolist() == [[3, 0]]


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_the_dot_product_over_folds_is_the_mean_cosine(num_folds, seed):
    rng = np.random.default_rng(seed)
    dims = rng.integers(2, 6, num_folds)
    queries, products = ([unit_rows(rng, count, dim) for dim in dims] for count in (3, 7))
    fused = fuse_folds(queries) @ fuse_folds(products).T
    cosines = [query @ product.T for query, product in zip(queries, products, strict=True)]
    assert fused == pytest.approx(np.mean(cosines, axis=0), abs=1e-6)
    assert np.linalg.norm(fuse_folds(products), axis=1) == pytest.approx(1, abs=1e-6)


def test_scales_of_two_models_are_refused(tmp_path):
    rows = np.ones((1, 2), np.float32)
    first, second = store_of(tmp_path / "a", ["x"], rows, "m"), store_of(tmp_path / "b", ["x"], rows, "n")
    with pytest.raises(ValueError, match=r"embedded by n .* by m .* run `dvc repro`"):
        fuse_scales([first, second], ["x"])


def test_a_missing_product_is_named(tmp_path):
    store = store_of(tmp_path / "a", ["x"], np.ones((1, 2), np.float32))
    with pytest.raises(ValueError, match="'y'"):
        fuse_scales([store], ["x", "y"])


def test_identity_lists_each_fingerprint_once_in_order(tmp_path):
    rows = np.ones((1, 2), np.float32)
    stores = [
        store_of(tmp_path / f"{model}-{size}", ["x"], rows, model, size)
        for model in ("m", "n")
        for size in ("64px", "80px")
    ]
    assert fused_identity(stores[:1]) == ("m", "64px")
    assert fused_identity(stores) == ("m+n", "64px+80px")
