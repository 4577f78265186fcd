"""Ties by hand, against every order of the tied items, and against a random order."""

import itertools
from math import comb

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.metrics.gallery_ranks import Gallery, rank_gallery
from pipeline_lib.metrics.ranking import RANK_FIGURES, chance_of, rank_figures, rank_statistic, ranks_of
from pipeline_lib.metrics.tied_ranks import TiedRanks, random_order, untied, weighted_median_ranks

COUNTS = st.tuples(st.integers(0, 4), st.integers(1, 3), st.integers(0, 4))


def ranks(*rows):
    return TiedRanks(*np.array(rows, np.int64).T)


def orders(higher, right, wrong):
    """The rank of the first right answer in every order of the tied items."""
    tied = [True] * right + [False] * wrong
    return [higher + 1 + order.index(True) for order in itertools.permutations(tied)]


@pytest.mark.parametrize(
    ("higher", "right", "wrong", "k", "chance"),
    [
        (0, 1, 0, 1, 1),  # alone on top
        (3, 1, 0, 3, 0),  # three better
        (3, 1, 0, 4, 1),
        (0, 1, 1, 1, 1 / 2),  # one of two
        (0, 1, 18, 10, 10 / 19),  # a collapsed model with 19 products: not a hit for certain
        (0, 1, 18, 1, 1 / 19),
        (4, 1, 9, 10, 6 / 10),
        (9, 1, 1, 10, 1 / 2),  # the last place is drawn
        (10, 1, 1, 10, 0),  # h >= k
        (0, 2, 1, 1, 2 / 3),
        (0, 2, 1, 2, 1),  # k - h > t
        (1, 2, 3, 3, 1 - comb(3, 2) / comb(5, 2)),
        (0, 1, 8, 10, 1),  # a gallery smaller than k
        (0, 3, 7, 2, 1 - (7 * 6) / (10 * 9)),
    ],
)
def test_hand_worked_hits(higher, right, wrong, k, chance):
    assert ranks((higher, right, wrong)).hits(k).tolist() == [pytest.approx(chance, abs=1e-15)]


@given(st.lists(COUNTS, min_size=1, max_size=3), st.integers(1, 12))
@settings(max_examples=50, deadline=None)
def test_hits_and_ranks_equal_the_mean_over_all_orders(rows, k):
    tied = ranks(*rows)
    for row, hit, expected in zip(rows, tied.hits(k), tied.expected(), strict=True):
        places = orders(*row)
        assert hit == pytest.approx(np.mean([place <= k for place in places]))
        assert expected == pytest.approx(np.mean(places))


@given(st.lists(COUNTS, min_size=1, max_size=5), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_the_median_is_that_of_all_orders_of_all_queries(rows, seed):
    """Each query's orders are repeated so often that all queries weigh the same; then numpy's median is ours."""
    weights = np.random.default_rng(seed).integers(0, 3, len(rows))
    weights[0] += 1
    places = [orders(*row) for row in rows]
    most = np.lcm.reduce([len(each) for each in places])
    pooled = [each * int(most // len(each) * weight) for each, weight in zip(places, weights, strict=True)]
    median = weighted_median_ranks(ranks(*rows), weights[None].astype(float))
    assert median.tolist() == [np.median(np.concatenate(pooled))]


def test_figures_of_a_table_by_hand():
    # Query 1: first. Query 2: one right and one wrong tie for the top. Query 3: 4 better, 2 right and 8 wrong tie.
    tied = ranks((0, 1, 0), (0, 1, 1), (4, 2, 8))
    at_5, at_10 = 2 / 10, 1 - comb(8, 6) / comb(10, 6)
    assert rank_figures(tied) == {
        "R@1": pytest.approx((1 + 1 / 2) / 3),
        "R@5": pytest.approx((2 + at_5) / 3),
        "R@10": pytest.approx((2 + at_10) / 3),
        "MeanRecall": pytest.approx((1.5 + 2 + at_5 + 2 + at_10) / 9),
        "median_rank": 1.5,  # R@1 is one half exactly, the next rank that occurs is 2
        "mean_rank": pytest.approx((1 + 1.5 + (1 + 4 + 8 / 3)) / 3),
    }


@given(st.lists(COUNTS, min_size=1, max_size=6), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_a_resample_equals_repeated_queries(rows, seed):
    counts = np.random.default_rng(seed).integers(0, 4, (3, len(rows))).astype(float)
    counts[:, 0] += 1
    for row, weights in zip(rank_statistic(ranks(*rows))(counts), counts, strict=True):
        repeated = rank_figures(ranks(*rows).take(np.repeat(np.arange(len(rows)), weights.astype(int))))
        assert row == pytest.approx([repeated[name] for name in RANK_FIGURES])


def test_ranks_without_ties_are_hits_or_not():
    tied = untied(np.array([1, 3, 11]))
    assert [tied.hits(k).tolist() for k in (1, 2, 3, 10, 11)] == [[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 1, 1]]
    assert tied.expected().tolist() == [1, 3, 11]


@pytest.mark.parametrize("num_products", [3, 9, 19, 60])
def test_a_collapsed_model_gets_exactly_chance(num_products):
    """All embeddings are equal; some queries have several right answers. The old rule gave R@10 = 1 of 19 products."""
    rng = np.random.default_rng(num_products)
    one = rng.standard_normal((1, 48)).astype(np.float32)
    query_ids = [f"q{number}" for number in range(num_products)]
    pairs = [(query, f"p{row}", 1) for row, query in enumerate(query_ids)]
    pairs += [(query, f"p{(row + 1) % num_products}", 1) for row, query in enumerate(query_ids) if row % 3 == 0]
    relevance = pl.DataFrame(pairs, schema=["query_id", "product_id", "grade"], orient="row")
    sides = (np.repeat(one, num_products, axis=0), [f"p{row}" for row in range(num_products)])
    table = rank_gallery(Gallery("test", None, query_ids, sides[0], sides[1], sides[0]), relevance)
    for direction in ("text_to_image", "image_to_text"):
        part = table.filter(pl.col("direction") == direction)
        figures = rank_figures(ranks_of(part))
        assert figures == pytest.approx(rank_figures(chance_of(part)))
        right = part["num_right"].to_list()
        for k in (1, 5, 10):
            drawn = min(k, num_products)
            by_hand = [1 - comb(num_products - m, drawn) / comb(num_products, drawn) for m in right]
            assert figures[f"R@{k}"] == pytest.approx(np.mean(by_hand))
    assert max(right) > 1 and figures["R@1"] < 1


def test_large_galleries_keep_their_digits():
    chance = random_order(np.array([1_000_000]), np.array([1]))
    assert chance.hits(1)[0] == pytest.approx(1e-6, rel=1e-9)
    assert weighted_median_ranks(chance, np.ones((1, 1))).tolist() == [500_000.5]
    several = random_order(np.array([1_000_000]), np.array([40]))
    assert several.hits(1000)[0] == pytest.approx(1 - (1 - 1e-3) ** 40, rel=1e-3)
