"""Twenty short queries as a person would type them, ten in each language, and the products of the shop that are right.

A product is right if it has every property that the query names: the kind, the main colour, the pattern, the material.
The table was written before any of these queries was searched for.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shop.products import make_records

TABLE = Path(__file__).with_suffix(".csv")
PROPERTIES = ("kind", "colour", "pattern", "material")


@dataclass(frozen=True)
class SearchQuery:
    """A query and the ids of the products that are right."""

    text: str
    right: frozenset[str]


def search_queries(num_products: int, seed: int) -> list[SearchQuery]:
    """Return the queries for the shop of `num_products` products and this seed."""
    items = [(record.product_id, record.item) for record in make_records(num_products, seed)]
    with TABLE.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    queries = []
    for row in rows:
        wanted = {name: row[name] for name in PROPERTIES if row[name]}
        right = {key for key, item in items if all(getattr(item, name) == value for name, value in wanted.items())}
        queries.append(SearchQuery(row["query"], frozenset(right)))
    return queries


def share_right(queries: Sequence[SearchQuery], found: Sequence[Sequence[str]]) -> float:
    """Return the mean share of right products in the lists found for the queries (precision at their length)."""
    shares = [sum(key in query.right for key in keys) / len(keys) for query, keys in zip(queries, found, strict=True)]
    return sum(shares) / len(shares)
