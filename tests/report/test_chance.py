"""Chance levels against the count over all orders, and from the tables of a run."""

import itertools

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.report.chance import Chance, hit_chance, retrieval_chance


@pytest.mark.parametrize(("gallery", "positives", "k"), [(5, 1, 2), (5, 2, 1), (6, 3, 2), (4, 2, 3), (6, 6, 1)])
def test_hit_chance_equals_counting_all_orders(gallery, positives, k):
    orders = list(itertools.permutations(range(gallery)))
    hits = sum(any(place < positives for place in order[:k]) for order in orders)
    assert hit_chance(gallery, positives, k) == pytest.approx(hits / len(orders))


@given(st.integers(2, 40_000), st.data())
def test_one_positive_is_k_of_gallery_and_chance_grows_with_k(gallery, data):
    k = data.draw(st.integers(1, gallery))
    assert hit_chance(gallery, 1, k) == pytest.approx(k / gallery, rel=1e-6)
    positives = data.draw(st.integers(1, gallery))
    low, high = hit_chance(gallery, positives, k), hit_chance(gallery, positives, min(gallery, k + 1))
    assert -1e-9 <= low <= high + 1e-9 <= 1 + 2e-9


def test_ranks_of_a_random_order_equal_counting_all_orders():
    orders = list(itertools.permutations(range(5)))
    best = sorted(min(order.index(0), order.index(1)) + 1 for order in orders)
    chance = Chance({(5, 2): 3})
    assert chance.mean_rank() == pytest.approx(sum(best) / len(best))
    assert chance.median_rank() == best[(len(best) - 1) // 2]


def test_median_over_several_galleries_is_the_rank_with_half_the_hits():
    chance = Chance({(10, 1): 1, (1000, 1): 1})
    k = chance.median_rank()
    assert chance.recall(k - 1) < 0.5 <= chance.recall(k)


def test_positives_are_counted_within_the_query_s_own_gallery():
    """Text q1 describes a and b, but b is in the other fold: one right answer, not two."""
    rows = [("oof", "text_to_image", "q1", 0, 1.0, 4), ("oof", "text_to_image", "q2", 1, 1.0, 6)]
    rows += [("oof", "image_to_text", product, fold, 1.0, 3) for product, fold in (("a", 0), ("b", 1), ("c", 1))]
    ranks = pl.DataFrame(rows, orient="row", schema=["split", "direction", "query_id", "fold", "rank", "num_gallery"])
    pairs = [("q1", "a", 1), ("q1", "b", 1), ("q2", "b", 1), ("q2", "c", 2), ("q2", "a", 0)]
    relevance = pl.DataFrame(pairs, orient="row", schema=["query_id", "product_id", "grade"])
    chances = retrieval_chance(ranks, relevance)
    assert chances["oof", "text_to_image"].cases == {(4, 1): 1, (6, 2): 1}
    assert chances["oof", "image_to_text"].cases == {(3, 1): 3}


def test_a_test_gallery_without_folds_and_a_direction_alone(make_run):
    rows = [("test", "text_to_image", f"q{i}", None, 1.0, 50) for i in range(3)]
    schema = {"split": str, "direction": str, "query_id": str, "fold": pl.Int64, "rank": float, "num_gallery": int}
    ranks = pl.DataFrame(rows, orient="row", schema=schema)
    relevance = pl.DataFrame({"query_id": ["q0"], "product_id": ["a"], "grade": [1]})
    assert retrieval_chance(ranks, relevance) == {("test", "text_to_image"): Chance({(50, 1): 3})}
    both = pl.concat([ranks, pl.DataFrame([("test", "image_to_text", "a", None, 1.0, 3)], orient="row", schema=schema)])
    assert retrieval_chance(both, relevance)["test", "image_to_text"].cases == {(3, 1): 1}
