"""Queries from texts, and a benchmark's own queries after cleaning."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.catalogue.queries import make_queries, query_id_of, select_queries
from pipeline_lib.catalogue.schema import QUERIES, RECORDS, REJECTS, RELEVANCE, Records


def products_of(rows):
    names = ["product_id", "text", "group_id"]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


def test_hand_worked_texts_and_groups():
    products = products_of(
        [("a", "red mug", "a"), ("b", "red mug", "b"), ("c", "blue mug", "b"), ("d", "", "a"), ("e", "", "e")]
    )
    queries, relevance = make_queries(products)
    red, blue = query_id_of("red mug"), query_id_of("blue mug")
    assert queries.select("query_id", "text").rows() == [(red, "red mug"), (blue, "blue mug")]
    assert queries.schema == QUERIES and relevance.schema == RELEVANCE
    assert sorted(relevance.rows()) == sorted(
        [(red, "a", 1), (red, "b", 1), (red, "c", 1), (red, "d", 1), (blue, "b", 1), (blue, "c", 1)]
    )


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(["", "x", "y", "z"]), st.sampled_from("pqr")), max_size=12))
def test_relevance_equals_a_slow_loop(rows):
    products = products_of([(str(place), text, group) for place, (text, group) in enumerate(rows)])
    queries, relevance = make_queries(products)
    expected = set()
    for text in {text for text, _ in rows if text}:
        groups = {group for other, group in rows if other == text}
        expected |= {(query_id_of(text), str(place)) for place, (_, group) in enumerate(rows) if group in groups}
    assert set(relevance.select("query_id", "product_id").rows()) == expected
    assert len(relevance) == len(expected)
    assert len(queries) == len({text for text, _ in rows if text})


def test_a_querys_id_does_not_depend_on_other_rows():
    few, _ = make_queries(products_of([("b", "red", "b")]))
    more, _ = make_queries(products_of([("a", "green", "a"), ("b", "red", "b"), ("c", "red", "c")]))
    assert few["query_id"][0] == more["query_id"][1]


def test_a_group_with_too_many_relevance_rows_is_named(monkeypatch):
    monkeypatch.setattr("pipeline_lib.catalogue.queries.MAX_RELEVANCE", 8)
    products = products_of([(name, name, "all") for name in "abc"])
    with pytest.raises(
        ValueError, match=r"group 'all' has 3 products; .* make 9 rows of relevance. Check data.columns.group"
    ):
        make_queries(products)


def test_a_benchmarks_queries_are_dropped_only_for_rejected_products():
    products = products_of([("a", "", "a"), ("b", "", "b")])
    queries = pl.DataFrame(
        [
            ("q1", "composed", "redder", "a", ["a", "b", "gone"], "val"),
            ("q2", "composed", "bluer", "gone", [], "val"),
            ("q3", "text", "mug", None, [], "val"),
            ("q4", "composed", "no answers published", "b", ["a"], "test"),
        ],
        schema=QUERIES,
        orient="row",
    )
    relevance = pl.DataFrame(
        [("q1", "b", 1), ("q1", "gone", 1), ("q2", "a", 1), ("q3", "gone", 1)], schema=RELEVANCE, orient="row"
    )
    records = Records("cap.json", 3, pl.DataFrame(schema=RECORDS), pl.DataFrame(schema=REJECTS), queries, relevance)
    remaining, relevant, dropped = select_queries(records, queries, relevance, products)
    assert remaining.select("query_id", "subset").rows() == [("q1", ["a", "b"]), ("q4", ["a"])]
    assert relevant.rows() == [("q1", "b", 1)]
    assert dropped.select("product_id", "file", "value", "action").rows() == [
        ("gone", "cap.json", "q2", "query dropped"),
        (None, "cap.json", "q3", "query dropped"),
    ]
