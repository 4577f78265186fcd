"""The top k equal a sort by score and id, whatever the block, the kernel and k."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.metrics import top_k as module
from pipeline_lib.metrics.top_k import id_places, top_k


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 5))
@settings(max_examples=60)
def test_equals_a_sort_by_score_and_id_whatever_the_chunk(seed, depth, chunk):
    """Integer embeddings: scores are exact and many are equal."""
    rng = np.random.default_rng(seed)
    queries = rng.integers(-2, 3, (4, 3)).astype(np.float32)
    gallery = rng.integers(-2, 3, (9, 3)).astype(np.float32)
    ids = [f"p{number}" for number in rng.permutation(12)[:9]]
    positions, scores = top_k(queries, gallery, depth, id_places(ids), chunk=chunk)
    exact = queries @ gallery.T
    for row, found in zip(exact, positions, strict=True):
        assert found.tolist() == sorted(range(9), key=lambda place: (-row[place], ids[place]))[:depth]
    assert np.array_equal(scores, np.take_along_axis(exact, positions, axis=1))


@given(st.integers(0, 2**32 - 1), st.integers(260, 420), st.integers(1, 6), st.booleans())
@settings(max_examples=40)
def test_a_gallery_that_is_looked_at_in_groups_equals_a_sort(seed, count, depth, sorted_by_score):
    """With up to three values a coordinate most scores are tied; the best may all lie in one group or in the rest."""
    rng = np.random.default_rng(seed)
    queries = rng.integers(-1, 2, (3, 4)).astype(np.float32)
    gallery = rng.integers(-1, 2, (count, 4)).astype(np.float32)
    if sorted_by_score:
        gallery = gallery[np.argsort(gallery @ queries[0])]
    ids = [f"p{number:03d}" for number in rng.permutation(count)]
    positions, _ = top_k(queries, gallery, depth, id_places(ids))
    for row, found in zip(queries @ gallery.T, positions, strict=True):
        assert found.tolist() == sorted(range(count), key=lambda place: (-row[place], ids[place]))[:depth]


@pytest.mark.parametrize("k", [1, 10, 78, 79])
def test_no_more_candidates_are_scored_again_than_the_groups_of_the_best_have(monkeypatch, k):
    scored = []
    pair_scores = module.pair_scores
    monkeypatch.setattr(module, "pair_scores", lambda *args: scored.append(len(args[2])) or pair_scores(*args))
    rng = np.random.default_rng(0)
    queries, gallery = (rng.standard_normal((count, 16)).astype(np.float32) for count in (5, 10_000))
    positions, _ = top_k(queries, gallery, k, np.arange(10_000))
    assert np.array_equal(positions, np.argsort(-(queries @ gallery.T), axis=1, kind="stable")[:, :k])
    assert 5 * k <= sum(scored) <= 5 * k * (module.GROUP_SIZE if k <= 78 else 1)


def test_a_depth_above_the_gallery_size_ranks_the_full_gallery():
    positions, _ = top_k(np.ones((1, 1), np.float32), np.array([[1], [3], [2]], np.float32), 50, np.arange(3))
    assert positions.tolist() == [[1, 2, 0]]


@pytest.mark.parametrize("repeated", [40, 300])
def test_equal_products_keep_the_order_of_their_ids_at_any_depth_and_order(repeated):
    """Copies of one vector lie all over the gallery, so that BLAS rounds some of them otherwise."""
    rng = np.random.default_rng(0)
    gallery = rng.standard_normal((300, 130)).astype(np.float32)
    copies = rng.choice(300, repeated, replace=False)
    gallery[copies] = gallery[copies[0]]
    queries = gallery[copies[:1]] + rng.standard_normal((33, 130)).astype(np.float32)
    ids = np.array([f"{number:03d}" for number in rng.permutation(300)])
    full = ids[top_k(queries, gallery, 300, id_places(ids))[0]]
    for k in (1, 2, 17, 39, 41):
        assert np.array_equal(ids[top_k(queries, gallery, k, id_places(ids))[0]], full[:, :k])
    order = rng.permutation(300)
    moved = top_k(queries[:1], gallery[order], 41, id_places(ids[order]))[0]
    assert np.array_equal(ids[order][moved], full[:1, :41])
    among = [found for found in full[0].tolist() if found in set(ids[copies])]
    assert among == sorted(among) and len(among) == repeated
