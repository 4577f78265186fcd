"""Checks composed queries of every form in one way, and converts them to the catalogue's tables.

What a query gets wrong drops that query with one reason: its id twice, an empty caption, no reference, a product that
is not listed, a target equal to the reference, a subset of a wrong size.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import polars as pl

from pipeline_lib.catalogue.schema import (
    ANSWER_DROPPED,
    QUERIES,
    QUERY_DROPPED,
    QUERY_SLICES,
    REJECTS,
    RELEVANCE,
    ComposedQueries,
    Records,
)
from pipeline_lib.catalogue.strings import clean_string, drop_half_characters

# Grades of targets and of soft answers, where a data set has both.
TARGET, SOFT = 2, 1
# Fewer products beside the reference are no choice.
MIN_CANDIDATES = 2


@dataclass(frozen=True)
class ComposedRow:
    """One query of a file: product ids of its reference, of its answers with their grades, and of its subset."""

    row: int
    query_id: str
    reference: str
    text: str
    answers: dict[str, int]
    subset: tuple[str, ...] = ()
    split: str | None = None
    slices: tuple[str, ...] = ()

    def targets(self) -> list[str]:
        """Return the answers of the highest grade."""
        highest = max(self.answers.values(), default=0)
        return [product_id for product_id, grade in self.answers.items() if grade == highest]


def composed_of(
    table: str, rows: Iterable[ComposedRow], product_ids: Collection[str], subset_size: int | None = None
) -> tuple[ComposedQueries, pl.DataFrame]:
    """Return the queries of the rows of a file, and a reject row for each dropped one.

    A query of the split test may have no answer. An answer of a lower grade that is the reference or not listed is
    dropped alone. With `subset_size` every query has a subset of so many different
    products, its reference and targets among them; otherwise a subset may be missing, and must hold a target.
    """
    known = frozenset(product_ids)
    first: set[str] = set()
    queries, relevance, slices, rejects = [], [], [], []
    for query in rows:
        text = clean_string(drop_half_characters(query.text))
        fault = ("query id twice", "") if query.query_id in first else _fault(query, text, known, subset_size)
        if fault is not None:
            reason, value = fault
            shown = ": ".join(filter(None, (query.query_id, value)))
            rejects.append((query.row, query.reference or None, table, reason, shown, QUERY_DROPPED))
            continue
        first.add(query.query_id)
        subset = list(dict.fromkeys(query.subset))
        queries.append((query.query_id, "composed", text, query.reference, subset, query.split))
        targets = query.targets()
        for product_id, grade in query.answers.items():
            if product_id in targets or (product_id in known and product_id != query.reference):
                relevance.append((query.query_id, product_id, grade))
            else:
                shown = f"{query.query_id}: {product_id}"
                rejects.append((query.row, query.reference, table, "soft answer left out", shown, ANSWER_DROPPED))
        slices += [(query.query_id, name) for name in dict.fromkeys(query.slices)]
    composed = ComposedQueries(
        pl.DataFrame(queries, schema=QUERIES, orient="row"),
        pl.DataFrame(relevance, schema=RELEVANCE, orient="row"),
        pl.DataFrame(slices, schema=QUERY_SLICES, orient="row"),
        sum(reject[-1] == QUERY_DROPPED for reject in rejects),
    )
    return composed, pl.DataFrame(rejects, schema=REJECTS, orient="row")


def merged_composed(records: Records, parts: Sequence[ComposedQueries]) -> Records:
    """Return the records of a benchmark with the composed queries of its files, and with no text queries."""
    none = pl.DataFrame(schema=QUERIES), pl.DataFrame(schema=RELEVANCE)
    return replace(records, queries=none[0], relevance=none[1], composed=joined_queries(parts))


def joined_queries(parts: Sequence[ComposedQueries]) -> ComposedQueries:
    """Return the queries of all parts."""
    return ComposedQueries(
        pl.concat([part.queries for part in parts]),
        pl.concat([part.relevance for part in parts]),
        pl.concat([part.slices for part in parts]),
        sum(part.num_dropped for part in parts),
    )


def _fault(query: ComposedRow, text: str, known: frozenset[str], subset_size: int | None) -> tuple[str, str] | None:
    """Return the reason why a query is dropped and the offending value, None for a good one."""
    if not query.query_id:
        return "empty query id", query.text
    if not text:
        return "empty caption", ""
    if not query.reference:
        return "missing reference", ""
    if query.reference not in known:
        return "reference is no listed product", query.reference
    if not query.answers and query.split != "test":
        return "no target", ""
    if query.reference in query.targets():
        return "target equal to its reference", query.reference
    unlisted = next((product_id for product_id in query.targets() if product_id not in known), None)
    if unlisted is not None:
        return "target is no listed product", unlisted
    return _subset_fault(query, known, subset_size) if query.subset or subset_size else None


def _subset_fault(query: ComposedRow, known: frozenset[str], subset_size: int | None) -> tuple[str, str] | None:
    members = set(query.subset)
    if subset_size is None and len(members - {query.reference}) < MIN_CANDIDATES:
        return "subset of a wrong size", f"{len(members)} products; write {MIN_CANDIDATES} or more beside the reference"
    if subset_size is not None and (len(members) != subset_size or len(query.subset) != subset_size):
        return "subset of a wrong size", f"{len(members)} different products, not {subset_size}"
    unlisted = next((product_id for product_id in query.subset if product_id not in known), None)
    if unlisted is not None:
        return "subset names no listed product", unlisted
    if subset_size is not None and query.reference not in members:
        return "subset without its reference", query.reference
    outside = [product_id for product_id in query.targets() if product_id not in members]
    if outside and (subset_size is not None or len(outside) == len(query.targets())):
        return "subset without its target", outside[0]
    return None
