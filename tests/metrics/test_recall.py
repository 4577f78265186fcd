"""The rank of the best positive: against a slow loop, by hand, with ties, exclusions, subsets, any tile and device."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.metrics import cpu_counts, device_counts, recall, score_counts
from pipeline_lib.metrics.recall import best_positive_ranks, both_ways_ranks
from pipeline_lib.metrics.relevance import positions_from_lists


def expected_ranks(*sides, **restrictions):
    return best_positive_ranks(*sides, **restrictions).expected()


KINDS = ("few", "float32", "bf16")


def use(patch, kind):
    """Count without threads, or with threads in one of the formats, whatever this machine has."""
    patch.setattr(recall, "FEW_SCORES", 1 << 40 if kind == "few" else -1)
    patch.setattr(recall, "supports_bf16", lambda device: kind == "bf16")


def slow_rank(scores, own, ranked):
    """Mean rank of the first positive over every order of the candidates that agrees with the scores."""
    best = max(scores[i] for i in ranked if i in own)
    above = sum(scores[i] > best for i in ranked)
    tied = [i for i in ranked if scores[i] == best]
    places = [next(place for place, i in enumerate(order) if i in own) for order in itertools.permutations(tied)]
    return 1 + above + sum(places) / len(places)


@st.composite
def cases(draw):
    """Integer vectors: scores are exact and ties are frequent."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_queries, num_gallery = draw(st.integers(1, 6)), draw(st.integers(1, 7))
    spread = draw(st.integers(1, 3))
    queries = rng.integers(-spread, spread + 1, (num_queries, 3)).astype(np.float32)
    gallery = rng.integers(-spread, spread + 1, (num_gallery, 3)).astype(np.float32)
    positives = [rng.choice(num_gallery, rng.integers(1, num_gallery + 1), replace=False) for _ in queries]
    return queries, gallery, positives


@given(cases(), st.sampled_from(KINDS))
@settings(max_examples=60)
def test_equals_the_mean_over_all_orders_of_the_ties(case, kind):
    queries, gallery, positives = case
    with pytest.MonkeyPatch.context() as patch:
        use(patch, kind)
        ranks = expected_ranks(queries, gallery, positions_from_lists(positives))
    expected = [
        slow_rank(gallery @ query, set(own), range(len(gallery))) for query, own in zip(queries, positives, strict=True)
    ]
    assert np.allclose(ranks, expected, rtol=0, atol=1e-9)


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("higher", "right", "wrong"))


@given(cases(), st.integers(1, 7), st.integers(1, 7), st.randoms(use_true_random=False), st.sampled_from(KINDS))
@settings(max_examples=60)
def test_neither_tiles_nor_gallery_order_matter(case, height, width, random, kind):
    queries, gallery, positives = case
    ranks = best_positive_ranks(queries, gallery, positions_from_lists(positives))
    order = list(range(len(gallery)))
    random.shuffle(order)
    moved = positions_from_lists([[order.index(position) for position in own] for own in positives])
    with pytest.MonkeyPatch.context() as patch:
        use(patch, kind)
        patch.setattr(cpu_counts, "CPU_TILE", (height, width))
        patch.setattr(cpu_counts, "SLAB", 2)
        patch.setattr(score_counts, "TILES", 3)
        patch.setattr(score_counts, "EXACT_ROWS", 2)
        assert same(ranks, best_positive_ranks(queries, gallery[order], moved))


@given(cases(), st.sampled_from(KINDS))
@settings(max_examples=40)
def test_both_ways_equal_two_calls_of_one_way(case, kind):
    queries, gallery, positives = case
    pairs = positions_from_lists(positives)
    of_gallery = pairs.transposed(len(gallery))
    asked = np.flatnonzero(of_gallery.counts())
    with pytest.MonkeyPatch.context() as patch:
        use(patch, kind)
        there, back = both_ways_ranks(queries, gallery, pairs)
    assert same(there, best_positive_ranks(queries, gallery, pairs))
    own = positions_from_lists([of_gallery.row(item) for item in asked])
    assert same(back, best_positive_ranks(gallery[asked], queries, own))


def drawn_case(seed, repeats):
    """Vectors of several lengths, a third of the gallery repeated, and queries near their products."""
    rng = np.random.default_rng(seed)
    gallery = rng.standard_normal((150, 96)).astype(np.float32) * rng.uniform(0.5, 2, (150, 1)).astype(np.float32)
    gallery[rng.choice(150, 50, replace=False)] = gallery[rng.choice(10, 50)]
    if repeats:
        gallery[:] = gallery[0]
    positives = [rng.choice(150, rng.integers(1, 4), replace=False) for _ in range(70)]
    queries = np.stack([gallery[own[0]] for own in positives]) + rng.standard_normal((70, 96)).astype(np.float32)
    return queries, gallery, positives


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("tile", [(16, 7), (33, 64), (70, 150), (1920, 2048)])
@pytest.mark.parametrize("kind", KINDS)
def test_tiles_find_every_tie_of_float64(monkeypatch, tile, repeats, kind):
    """Equal gallery rows tie in any tile: a score near the threshold is computed again."""
    queries, gallery, positives = drawn_case(1, repeats)
    use(monkeypatch, kind)
    monkeypatch.setattr(cpu_counts, "CPU_TILE", tile)
    pairs = positions_from_lists(positives)
    ranks = best_positive_ranks(queries, gallery, pairs)
    scores = queries.astype(np.float64) @ gallery.astype(np.float64).T
    for query, own in enumerate(positives):
        best = scores[query, own].max()
        equal = np.abs(scores[query] - best) < 1e-9
        assert ranks.higher[query] == (scores[query] > best + 1e-9).sum()
        assert ranks.right[query] == equal[own].sum()
        assert ranks.wrong[query] == equal.sum() - equal[own].sum()
    assert (ranks.wrong > 0).sum() > 10


@pytest.mark.parametrize("repeats", [False, True])
def test_torch_tiles_count_as_numpy_tiles(monkeypatch, repeats):
    queries, gallery, positives = drawn_case(2, repeats)
    pairs = positions_from_lists(positives)
    monkeypatch.setattr(device_counts, "DEVICE_TILE", (32, 50))
    before = torch.get_float32_matmul_precision()
    moved = both_ways_ranks(queries, gallery, pairs, device="cpu:0")  # a torch device, so that torch counts
    for one, other in zip(both_ways_ranks(queries, gallery, pairs), moved, strict=True):
        assert same(one, other)
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize(
    ("scores", "positives", "rank"),
    [
        ([5, 4, 3], [0], 1),
        ([5, 4, 3], [2], 3),
        ([5, 4, 3], [1, 2], 2),  # the best positive counts
        ([4, 4, 3], [0], 1.5),  # one negative ties: first or second
        ([4, 4, 4], [0], 2),  # two negatives tie
        ([4, 4, 4], [0, 1], 4 / 3),  # one negative between two positives
        ([9, 4, 4, 4, 1], [1, 4], 3),
        ([4, 4], [0, 1], 1),  # only positives tie
    ],
)
def test_hand_worked_ranks(scores, positives, rank):
    gallery = np.array(scores, np.float32)[:, None]
    ranks = expected_ranks(np.ones((1, 1), np.float32), gallery, positions_from_lists([positives]))
    assert ranks.tolist() == [pytest.approx(rank)]


@pytest.mark.parametrize("num_gallery", [3, 10, 50, 300])
@pytest.mark.parametrize("dim", [64, 130, 512])
@pytest.mark.parametrize("num_queries", [1, 2, 7])
def test_a_collapsed_gallery_ties_exactly_with_any_kernel(num_queries, num_gallery, dim):
    # BLAS kernels at the edge of a matrix round equal rows differently; ranks by raw scores would be random.
    rng = np.random.default_rng(0)
    gallery = np.repeat(rng.standard_normal((1, dim)).astype(np.float32), num_gallery, axis=0)
    queries = rng.standard_normal((num_queries, dim)).astype(np.float32)
    positives = positions_from_lists([[query % num_gallery] for query in range(num_queries)])
    assert set(expected_ranks(queries, gallery, positives).tolist()) == {1 + (num_gallery - 1) / 2}


def test_excluded_products_are_not_ranked():
    gallery = np.array([[9], [5], [4]], np.float32)
    query = np.ones((1, 1), np.float32)
    positives, reference = positions_from_lists([[2]]), positions_from_lists([[0]])
    assert expected_ranks(query, gallery, positives).tolist() == [3]
    assert expected_ranks(query, gallery, positives, excluded=reference).tolist() == [2]


def test_only_the_subset_is_ranked_and_exclusion_applies_within_it():
    gallery = np.array([[9], [8], [7], [6]], np.float32)
    query = np.ones((2, 1), np.float32)
    positives = positions_from_lists([[3], [0, 2]])
    subset = positions_from_lists([[1, 3], [1, 2]])
    assert expected_ranks(query, gallery, positives, subset=subset).tolist() == [2, 2]
    excluded = positions_from_lists([[1], []])
    assert expected_ranks(query, gallery, positives, excluded=excluded, subset=subset).tolist() == [1, 2]


@given(cases(), st.data())
@settings(max_examples=40)
def test_restrictions_equal_ranking_the_restricted_gallery(case, data):
    queries, gallery, positives = case
    count = len(gallery)
    excluded = [data.draw(st.sets(st.integers(0, count - 1))) - {int(own[0])} for own in positives]
    subset = [data.draw(st.sets(st.integers(0, count - 1))) | {int(own[0])} for own in positives]
    ranks = expected_ranks(
        queries,
        gallery,
        positions_from_lists(positives),
        positions_from_lists([list(row) for row in excluded]),
        positions_from_lists([list(row) for row in subset]),
    )
    for i, query in enumerate(queries):
        ranked = sorted(subset[i] - excluded[i])
        assert ranks[i] == pytest.approx(slow_rank(gallery @ query, set(positives[i].tolist()), ranked))


def test_no_query_gives_no_rank():
    none = expected_ranks(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32), positions_from_lists([]))
    assert none.tolist() == []


def test_bad_input_is_named():
    ones = np.ones((2, 3), np.float32)
    positives = positions_from_lists([[0], [1]])
    with pytest.raises(ValueError, match="query 1 has no positive"):
        expected_ranks(ones, ones, positions_from_lists([[0], []]))
    with pytest.raises(ValueError, match="query 0 has no positive"):
        expected_ranks(ones, ones, positives, excluded=positives)
    with pytest.raises(ValueError, match="the same width"):
        expected_ranks(ones, ones[:, :2], positives)
    with pytest.raises(ValueError, match="1 rows of gallery positions for 2 queries"):
        expected_ranks(ones, ones, positions_from_lists([[0]]))
    with pytest.raises(ValueError, match=r"0 \.\. 1, found 2"):
        expected_ranks(ones, ones, positions_from_lists([[0], [2]]))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_embedding_that_is_not_finite_is_refused(value):
    gallery = np.ones((4, 3), np.float32)
    gallery[2, 1] = value
    gallery[2, 0] = -value
    with pytest.raises(ValueError, match="gallery: the embedding in row 2 is not finite"):
        expected_ranks(np.ones((1, 3), np.float32), gallery, positions_from_lists([[0]]))
