"""Chance levels against the count over all orders, and from the tables of a run."""

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.artifacts.schemas import RANKS_SCHEMA
from pipeline_lib.metrics.tied_ranks import random_order
from pipeline_lib.report.chance import retrieval_chance


def hit_chance(gallery, positives, k):
    return random_order(np.array([gallery]), np.array([positives])).hits(k)[0]


@pytest.mark.parametrize(
    ("gallery", "positives", "k"), [(5, 1, 2), (5, 2, 1), (6, 3, 2), (4, 2, 3), (6, 6, 1), (3, 1, 10)]
)
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


@pytest.mark.parametrize(("gallery", "positives", "k"), [(9, 1, 10), (9, 9, 10), (5, 2, 10), (60, 2, 100), (1, 1, 5)])
def test_a_list_longer_than_the_gallery_has_every_product(gallery, positives, k):
    assert hit_chance(gallery, positives, k) == 1


def ranks_of(*cases, direction="text_to_image"):
    """RANKS_SCHEMA rows of queries with (gallery, right answers)."""
    rows = [
        ("test", direction, f"q{row}", None, 1.0, gallery, f"g{row}", right, 1, 0)
        for row, (gallery, right) in enumerate(cases)
    ]
    return pl.DataFrame(rows, orient="row", schema=RANKS_SCHEMA)


def test_ranks_of_a_random_order_equal_counting_all_orders():
    orders = list(itertools.permutations(range(5)))
    best = [min(order.index(0), order.index(1)) + 1 for order in orders]
    (chance,) = retrieval_chance(ranks_of((5, 2), (5, 2), (5, 2))).values()
    assert chance.mean_rank() == pytest.approx(np.mean(best))
    assert chance.median_rank() == np.median(best)


def test_several_galleries_are_pooled():
    (chance,) = retrieval_chance(ranks_of((10, 1), (1000, 1))).values()
    k = chance.median_rank()
    assert chance.recall(int(k) - 1) < 0.5 <= chance.recall(int(k))
    assert chance.mean_rank() == (5.5 + 500.5) / 2
    assert chance.recall(1) == pytest.approx((1 / 10 + 1 / 1000) / 2)


def test_each_direction_has_its_own_level_and_right_answers():
    """Right answers are those in a query's own gallery; of a gallery below K none are left out."""
    both = pl.concat([ranks_of((4, 1), (6, 2)), ranks_of((3, 1), direction="image_to_text")])
    chances = retrieval_chance(both)
    assert set(chances) == {("test", "text_to_image"), ("test", "image_to_text")}
    assert chances["test", "text_to_image"].recall(1) == pytest.approx((1 / 4 + 2 / 6) / 2)
    assert chances["test", "image_to_text"].recall(5) == 1
