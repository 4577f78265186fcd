"""Composed queries keep their products in one fold, and those across folds are counted."""

import numpy as np
import polars as pl

from pipeline_lib.catalogue.schema import QUERIES
from pipeline_lib.splitting import composed_groups
from pipeline_lib.splitting.composed_groups import link_composed
from pipeline_lib.splitting.composed_places import composed_places, straddling
from pipeline_lib.splitting.folds import split_products


def queries_of(rows):
    """Rows of query id, reference, subset and split."""
    full = [(name, "composed", "in red", reference, subset, split) for name, reference, subset, split in rows]
    return pl.DataFrame(full, schema=QUERIES, orient="row")


def relevance_of(rows):
    schema = {"query_id": pl.String, "product_id": pl.String, "grade": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def products_of(ids, split=None, fold=None):
    columns = {"product_id": list(ids), "group_id": list(ids), "fold_group_id": list(ids), "label": None}
    frame = pl.DataFrame(columns, schema_overrides={"label": pl.String})
    return frame.with_columns(pl.lit(split, pl.String).alias("split"), pl.lit(fold, pl.Int64).alias("fold"))


def test_reference_targets_and_subset_join_and_queries_chain():
    products = products_of("abcdefgh")
    queries = queries_of([("q1", "a", ["b"], None), ("q2", "c", [], None), ("q3", "g", [], None)])
    relevance = relevance_of([("q1", "c", 2), ("q2", "d", 1), ("q3", "h", 1)])
    groups, notes = link_composed(products, products["fold_group_id"], queries, relevance)
    assert groups.to_list() == ["a", "a", "a", "a", "e", "f", "g", "g"] and notes == []


def test_groups_of_photos_join_as_groups():
    products = products_of("abcd")
    before = pl.Series("fold_group_id", ["a", "b", "b", "a"])
    groups, _ = link_composed(products, before, queries_of([("q", "c", [], None)]), relevance_of([("q", "d", 1)]))
    assert groups.to_list() == ["a"] * 4


def test_a_split_that_the_table_gives_joins_nothing():
    queries, relevance = queries_of([("q", "a", [], None)]), relevance_of([("q", "b", 1)])
    for products in (products_of("ab", split="val"), products_of("ab", fold=0)):
        groups, _ = link_composed(products, products["fold_group_id"], queries, relevance)
        assert groups.to_list() == ["a", "b"]


def test_links_are_taken_in_the_order_of_the_queries_however_many_products_there_are(monkeypatch):
    monkeypatch.setattr(composed_groups, "HANDFUL", 4)
    products = products_of("abcdefghijklmnopqrstuvwxyz")
    queries = queries_of([(f"q{at}", "abcde"[at], [], None) for at in reversed(range(5))])
    relevance = relevance_of([(f"q{at}", "bcdef"[at], 1) for at in range(5)])
    groups, notes = link_composed(products, products["fold_group_id"], queries, relevance)
    # e-f, d-e and c-d make a group of four, so b-c is refused; then a-b.
    assert groups.to_list()[:6] == ["a", "a", "c", "c", "c", "c"] and len(notes) == 1


def test_a_chain_that_would_be_too_large_is_cut_at_whole_queries_and_noted(monkeypatch):
    monkeypatch.setattr(composed_groups, "HANDFUL", 3)
    products = products_of("abcdef")
    queries = queries_of([(f"q{at}", "abcde"[at], [], None) for at in range(5)])
    relevance = relevance_of([(f"q{at}", "bcdef"[at], 1) for at in range(5)])
    groups, notes = link_composed(products, products["fold_group_id"], queries, relevance)
    assert groups.to_list() == ["a", "a", "a", "d", "d", "d"]
    assert notes[0].startswith("1 of 5 composed queries would join groups of more than 3 products")


def test_no_query_straddles_the_folds_of_linked_products():
    """A property over random queries: with groups small enough, every query has one place."""
    rng = np.random.default_rng(3)
    ids = [f"p{number:03d}" for number in range(240)]
    families = [ids[start : start + 6] for start in range(0, 240, 6)]
    queries, relevance = [], []
    for number in range(150):
        reference, target, soft = rng.choice(families[rng.integers(40)], 3, replace=False)
        queries.append((f"q{number}", reference, [], None))
        relevance += [(f"q{number}", target, 2), (f"q{number}", soft, 1)]
    queries, relevance = queries_of(queries), relevance_of(relevance)
    products = products_of(ids)
    alone, _ = split_products(products, 3, 0.2, 7)
    assert straddling(queries, relevance, alone).counts["composed_straddling"] > 50
    groups, _ = link_composed(products, products["fold_group_id"], queries, relevance)
    together, _ = split_products(products.with_columns(groups), 3, 0.2, 7)
    assert straddling(queries, relevance, together) == ({"composed_straddling": 0}, [])


def test_places_of_queries_by_their_products_and_their_own_split():
    folds = pl.DataFrame(
        {"product_id": list("abcdef"), "split": ["train"] * 4 + ["test"] * 2, "fold": [0, 0, 1, None, None, None]}
    )
    rows = [
        ("in fold 0", "a", [], None),
        ("folds 0 and 1", "a", ["c"], None),
        ("train and test", "a", [], None),
        ("test", "e", [], "test"),
        ("evaluated only", "a", [], "val"),
        ("always trained on", "d", [], None),
        ("test, answered in a fold", "a", [], "test"),
        ("test, unanswered in a fold", "a", [], "test"),
        ("subset in test", "a", ["f"], None),
    ]
    answers = ["b", "b", "e", "f", "b", "d", "b", None, "b"]
    relevance = relevance_of([(row[0], one, 1) for row, one in zip(rows, answers, strict=True) if one])
    places = composed_places(queries_of(rows), relevance, folds)
    assert places.rows() == [
        ("in fold 0", "train", 0, True, False),
        ("folds 0 and 1", None, None, False, True),
        ("train and test", None, None, False, True),
        ("test", "test", None, False, False),
        ("evaluated only", "train", 0, False, False),
        ("always trained on", "train", None, True, False),
        ("test, answered in a fold", None, None, False, True),
        ("test, unanswered in a fold", "train", 0, False, False),
        ("subset in test", None, None, False, True),
    ]
    counts, notes = straddling(queries_of(rows), relevance, folds)
    assert counts == {"composed_straddling": 4}
    assert notes[0].startswith("4 of 9 composed queries have products on both sides of a split")


def test_without_composed_queries_there_is_nothing_to_count():
    empty = queries_of([])
    products = products_of("ab")
    assert straddling(empty, relevance_of([]), products.select("product_id", "split", "fold")) == ({}, [])
    groups, notes = link_composed(products, products["fold_group_id"], empty, relevance_of([]))
    assert groups.to_list() == ["a", "b"] and notes == []
