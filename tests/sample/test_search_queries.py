"""The queries of the sample: their words mean what the table says, and every one has right answers."""

import csv

import pytest
from shop.goods import GOODS
from shop.search_queries import PROPERTIES, TABLE, SearchQuery, search_queries, share_right
from shop.words import COLOURS, MATERIALS, PATTERNS

NAMES = {"kind": GOODS, "colour": COLOURS, "pattern": PATTERNS, "material": MATERIALS}


@pytest.fixture(scope="module")
def rows():
    with TABLE.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_there_are_ten_queries_in_each_language(rows):
    chinese = [row["query"] for row in rows if not row["query"].isascii()]
    assert len(rows) == 20 and len(chinese) == 10 and len({row["query"] for row in rows}) == 20
    assert rows[0]["query"] == "red striped mug"  # the example of README.md


def test_every_property_of_the_table_exists_and_every_query_names_two_or_more(rows):
    for row in rows:
        named = {name: row[name] for name in PROPERTIES if row[name]}
        assert len(named) >= 2, row
        assert all(value in NAMES[name] for name, value in named.items()), row


def test_what_is_right_has_all_properties_that_are_named():
    queries = {query.text: query for query in search_queries(2500, 11)}
    assert len(queries["red striped mug"].right) == 4 == len(queries["红色条纹马克杯"].right)
    assert queries["red striped mug"].right == queries["红色条纹马克杯"].right
    assert min(len(query.right) for query in queries.values()) >= 4


def test_the_share_of_right_products_by_hand():
    queries = [SearchQuery("a", frozenset({"1", "2"})), SearchQuery("b", frozenset({"3"}))]
    assert share_right(queries, [["1", "9", "2", "8"], ["7", "6"]]) == 0.25
