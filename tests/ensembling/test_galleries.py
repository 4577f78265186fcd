"""Galleries: each fold's own products and the queries about them, then test."""

import polars as pl
import pytest

from pipeline_lib.ensembling.galleries import plan_galleries

PRODUCTS = pl.DataFrame(
    {
        "product_id": ["a", "b", "c", "always", "t"],
        "label": [None] * 5,
        "group_id": ["a", "b", "c", "always", "t"],
        "split": ["train", "train", "train", "train", "test"],
        "fold": [0, 0, 1, None, None],
    },
    schema_overrides={"label": pl.String},
)


def queries_of(**splits):
    return pl.DataFrame(
        {"query_id": list(splits), "split": list(splits.values())}, schema_overrides={"split": pl.String}
    )


def relevance_of(*pairs):
    return pl.DataFrame(pairs, schema=["query_id", "product_id", "grade"], orient="row")


def test_a_query_belongs_to_the_galleries_of_its_products():
    queries = queries_of(q_t=None, q_ac=None, q_always=None, q_zero=None)
    relevance = relevance_of(
        ("q_ac", "a", 1), ("q_ac", "c", 2), ("q_t", "t", 1), ("q_always", "always", 1), ("q_zero", "a", 0)
    )
    galleries = plan_galleries(PRODUCTS, queries, relevance, [0, 1])
    assert [(g.name, g.products["product_id"].to_list(), g.query_ids) for g in galleries] == [
        ("oof-0", ["a", "b"], ["q_ac"]),
        ("oof-1", ["c"], ["q_ac"]),
        ("test", ["t"], ["q_t"]),
    ]


def test_a_query_with_a_split_stays_in_it():
    queries = queries_of(any=None, test="test", val="val", train="train")
    relevance = relevance_of(*((query, product, 1) for query in ("any", "test", "val", "train") for product in "at"))
    galleries = plan_galleries(PRODUCTS, queries, relevance, [0])
    assert [g.query_ids for g in galleries] == [["any", "val", "train"], ["any", "test"]]


def test_only_listed_folds_count_and_test_may_be_absent():
    queries, relevance = queries_of(q=None), relevance_of(("q", "a", 1))
    galleries = plan_galleries(PRODUCTS.filter(pl.col("split") == "train"), queries, relevance, [1])
    assert [(g.name, g.query_ids) for g in galleries] == [("oof-1", [])]


def test_a_listed_fold_without_products_is_named():
    with pytest.raises(ValueError, match=r"plan\.folds lists 7, but products have only the folds \[0, 1\]"):
        plan_galleries(PRODUCTS, queries_of(q=None), relevance_of(("q", "a", 1)), [0, 7])


def test_queries_without_any_answer_are_ranked_in_their_split():
    queries = queries_of(unused=None, test="test", val="val", train="train", answered="test", zero="test")
    relevance = relevance_of(("answered", "t", 1), ("zero", "t", 0))
    galleries = plan_galleries(PRODUCTS, queries, relevance, [0, 1])
    assert [(g.name, g.query_ids) for g in galleries] == [
        ("oof-0", ["val"]),
        ("oof-1", ["val"]),
        ("test", ["test", "answered"]),
    ]


def test_labels_that_no_model_of_a_gallery_was_trained_on_are_named():
    """`both` is learned by either model, `zero` is only in fold 0, `late` only in test, `always` in every training."""
    labels = ["zero", "both", "both", "always", "late"]
    products = PRODUCTS.with_columns(label=pl.Series(labels))
    products = pl.concat([products, products.tail(1).with_columns(product_id=pl.lit("u"), label=pl.lit("zero"))])
    named = {
        tuple(folds): {gallery.name: set(gallery.unlearned) for gallery in galleries}
        for folds in ([0, 1], [0])
        for galleries in [plan_galleries(products, queries_of(q=None), relevance_of(("q", "a", 1)), folds)]
    }
    assert named == {
        (0, 1): {"oof-0": {"zero"}, "oof-1": set(), "test": {"late"}},
        (0,): {"oof-0": {"zero"}, "test": {"late", "zero"}},
    }
