"""Ranks of a gallery in both directions, by hand."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from pipeline_lib.artifacts.schemas import RANKS_SCHEMA
from pipeline_lib.metrics.gallery_ranks import SUBSET, Gallery, gallery_positives, rank_gallery
from pipeline_lib.metrics.ranking import chance_of, ranks_of


def relevance_of(*pairs):
    rows = [(query, product, grade) for query, product, grade in pairs]
    return pl.DataFrame(rows, schema={"query_id": pl.String, "product_id": pl.String, "grade": pl.Int64}, orient="row")


def test_hand_worked_in_both_directions():
    # Products on the axes and one diagonal; a is relevant to q1, b and d to q2, c to none.
    products = np.array([[1, 0], [0, 1], [0.8, 0.6], [-1, 0]], np.float32)
    queries = np.array([[0.6, 0.8], [0.9, 0.1]], np.float32)
    relevance = relevance_of(("q1", "a", 1), ("q2", "b", 1), ("q2", "d", 1), ("q2", "elsewhere", 1), ("q1", "c", 0))
    gallery = Gallery("oof", 2, ["q1", "q2"], queries, ["a", "b", "c", "d"], products)
    ranks = rank_gallery(gallery, relevance)
    assert ranks.schema == RANKS_SCHEMA
    assert ranks.select("direction", "query_id", "rank", "num_gallery").rows() == [
        ("text_to_image", "q1", 3.0, 4),  # scores .6 .8 .96 -.6
        ("text_to_image", "q2", 3.0, 4),  # scores .9 .1 .78 -.9; b before d
        ("image_to_text", "a", 2.0, 2),  # q1 .6, q2 .9
        ("image_to_text", "b", 2.0, 2),  # q1 .8, q2 .1
        ("image_to_text", "d", 2.0, 2),  # q1 -.6, q2 -.9
    ]
    assert ranks["split"].unique().to_list() == ["oof"]
    assert ranks["fold"].unique().to_list() == [2]
    assert ranks["group_id"].to_list() == ["a", "b", "a", "b", "d"]
    grouped = rank_gallery(replace(gallery, groups=["shoe", "hat", "shoe", "hat"]), relevance)
    assert grouped["group_id"].to_list() == ["shoe", "hat", "shoe", "hat", "hat"]
    assert grouped.drop("group_id").equals(ranks.drop("group_id"))


def test_five_captions_per_image_do_not_hide_a_perfect_model():
    # Row-paired evaluation would give this model R@1 = 20 %.
    products = np.eye(4, dtype=np.float32)
    query_ids = [f"{image}-{caption}" for image in range(4) for caption in range(5)]
    relevance = relevance_of(*((query, query[0], 1) for query in query_ids))
    queries = np.repeat(products, 5, axis=0)
    ranks = rank_gallery(Gallery("test", None, query_ids, queries, list("0123"), products), relevance)
    assert set(ranks["rank"]) == {1.0}
    assert ranks["direction"].value_counts(sort=True).rows() == [("text_to_image", 20), ("image_to_text", 4)]
    assert ranks["fold"].null_count() == 24


def test_positives_ignore_products_elsewhere_and_grade_zero():
    relevance = relevance_of(("q", "b", 2), ("q", "a", 0), ("q", "z", 1), ("other", "a", 1))
    positives = gallery_positives(["p", "q"], ["a", "b"], relevance)
    assert [positives.row(query).tolist() for query in range(2)] == [[], [1]]


def test_a_query_without_a_relevant_product_is_named():
    ones = np.ones((1, 2), np.float32)
    with pytest.raises(ValueError, match="query 'lost': none of its relevant products is among the 1 of test"):
        rank_gallery(Gallery("test", None, ["lost"], ones, ["a"], ones), relevance_of(("lost", "z", 1)))


def test_no_query_gives_an_empty_table():
    none = np.zeros((0, 2), np.float32)
    ranks = rank_gallery(Gallery("oof", 0, [], none, ["a"], np.ones((1, 2), np.float32)), relevance_of())
    assert ranks.height == 0
    assert ranks.schema == RANKS_SCHEMA


def test_queries_without_relevance_are_left_out_in_both_directions():
    products = np.eye(2, dtype=np.float32)
    queries = np.array([[9, 9], [0.6, 0.8]], np.float32)
    gallery = Gallery("test", None, ["unjudged", "q"], queries, ["a", "b"], products)
    ranks = rank_gallery(gallery, relevance_of(("q", "a", 1)))
    # As a distractor the first query would rank above q.
    assert ranks.select("query_id", "rank", "num_gallery").rows() == [("q", 2.0, 2), ("a", 1.0, 1)]
    alone = Gallery("test", None, ["unjudged"], queries[:1], ["a", "b"], products)
    assert rank_gallery(alone, relevance_of(("q", "a", 1))).schema == RANKS_SCHEMA
    assert rank_gallery(alone, relevance_of(("q", "a", 1))).is_empty()


def subset_of(*pairs):
    return pl.DataFrame(pairs, schema={"query_id": pl.String, "product_id": pl.String}, orient="row")


def test_hand_worked_subsets():
    """Scores of q1: a 1, b .8, c .6, d 1; of q2 the same. The answer need not be in the subset."""
    products = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [1, 0]], np.float32)
    queries = np.array([[1, 0], [1, 0], [1, 0], [1, 0]], np.float32)
    relevance = relevance_of(("q1", "b", 1), ("q2", "a", 1), ("q3", "c", 1), ("q4", "a", 1), ("q4", "c", 1))
    subsets = subset_of(
        ("q1", "c"), ("q1", "b"), ("q1", "elsewhere"),  # before c
        ("q2", "d"), ("q2", "c"),  # level with d
        ("q3", "elsewhere"), ("q3", "c"),  # nothing to choose from
        ("q4", "d"),  # the best of two answers is level with d
    )  # fmt: skip
    gallery = Gallery("test", None, ["q1", "q2", "q3", "q4"], queries, list("abcd"), products, list("wxyz"), subsets)
    ranks = rank_gallery(gallery, relevance)
    assert ranks.schema == RANKS_SCHEMA
    own = ranks.filter(pl.col("direction") == SUBSET)
    columns = ("query_id", "rank", "num_gallery", "num_right", "tied_right", "tied_wrong", "group_id")
    assert own.select(columns).rows() == [
        ("q1", 1.0, 2, 1, 1, 0, "x"),
        ("q2", 1.5, 3, 1, 1, 1, "w"),
        ("q4", 1.5, 3, 2, 1, 1, "w"),
    ]
    assert ranks_of(own).hits(1).tolist() == [1.0, 0.5, 0.5]
    assert np.allclose(chance_of(own).hits(1), [1 / 2, 1 / 3, 2 / 3])
    whole = rank_gallery(replace(gallery, subsets=None), relevance)
    assert whole.equals(ranks.filter(pl.col("direction") != SUBSET))
    assert rank_gallery(replace(gallery, subsets=subset_of(("q3", "c"))), relevance).equals(whole)


def test_subsets_equal_a_slow_loop():
    rng = np.random.default_rng(3)
    vectors = [np.round(rng.normal(size=(rows, 3)), 0).astype(np.float32) for rows in (30, 12)]
    query_ids, product_ids = [f"q{row}" for row in range(30)], [f"p{row}" for row in range(12)]
    right = {query: f"p{rng.integers(12)}" for query in query_ids}
    subsets = {query: {f"p{row}" for row in rng.integers(12, size=rng.integers(4))} for query in query_ids}
    named = subset_of(*((query, product) for query, own in subsets.items() for product in own))
    gallery = Gallery("oof", 1, query_ids, vectors[0], product_ids, vectors[1], None, named)
    ranks = rank_gallery(gallery, relevance_of(*((query, product, 1) for query, product in right.items())))
    found = dict(ranks.filter(pl.col("direction") == SUBSET).select("query_id", "rank").rows())
    expected, scores = {}, vectors[0] @ vectors[1].T
    for row, query in enumerate(query_ids):
        wrong = [scores[row, product_ids.index(one)] for one in subsets[query] - {right[query]}]
        own = scores[row, product_ids.index(right[query])]
        if wrong:
            expected[query] = 1 + sum(one > own for one in wrong) + sum(one == own for one in wrong) / 2
    assert found == expected and any(rank % 1 for rank in expected.values())
