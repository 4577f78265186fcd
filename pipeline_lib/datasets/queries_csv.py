"""Reads composed queries for the products of any table: query_id, reference_id, text, target_id, and optionally more.

The optional columns are grade (a whole number from 1, the default; a query's targets are the answers of its highest
grade), subset and slice (several joined by |), and split. Several rows of one query_id are several answers. The first
of them has the query itself, and the others repeat it or leave it empty.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.messages import show
from pipeline_lib.artifacts.path_guard import inner_file
from pipeline_lib.catalogue.schema import (
    ANSWER_DROPPED,
    QUERY_DROPPED,
    REJECTED,
    REJECTS,
    RETAINED,
    ComposedQueries,
    Records,
)
from pipeline_lib.catalogue.strings import clean, clean_name, clean_string
from pipeline_lib.datasets.columns import SPLIT_ADVICE, SPLIT_NAMES
from pipeline_lib.datasets.composed_queries import ComposedRow, composed_of, joined_queries
from pipeline_lib.datasets.exports import heading
from pipeline_lib.datasets.table_file import Table, listing, not_read, open_table, read_columns
from pipeline_lib.params.data import DataParams

NEEDED = ("query_id", "reference_id", "text", "target_id")
OPTIONAL = ("grade", "subset", "split", "slice")
# A row of the table by its columns, null for an empty cell or a missing column.
Cells = dict[str, str | None]
Reject = tuple[int, str | None, str, str, str, str]


def with_queries(records: Records, data: DataParams) -> Records:
    """Return records with the composed queries of data.queries, beside those that they have.

    Raises ValueError if there is no such file inside the root, lacks a column, or has a wrong split.
    """
    if data.queries is None:
        return records
    path = inner_file(Path(data.root), data.queries)
    if not path.is_file():
        raise ValueError(f"data.queries = {data.queries!r}: no such file in {data.root}")
    table = open_table(path)
    columns = _columns(table)
    raw, unreadable = read_columns(table, list(columns.values()))
    unreadable = unreadable.with_columns(pl.col("action").replace(REJECTED, QUERY_DROPPED))
    rows, left_out = _grouped(path, _cells(raw, columns))
    composed, dropped = composed_of(path.name, rows, records.products["product_id"].to_list())
    lost = unreadable.filter(pl.col("action") == QUERY_DROPPED).height
    odd = _odd_sizes(path, rows, set(composed.queries["query_id"]))
    rejects = pl.concat([unreadable, pl.DataFrame(left_out, schema=REJECTS, orient="row"), dropped, odd])
    return replace(
        records,
        rejects=pl.concat([records.rejects, rejects.sort("row", nulls_last=True, maintain_order=True)]),
        composed=_both(records.composed, replace(composed, num_dropped=composed.num_dropped + lost)),
        columns=records.columns | {"queries": f"{path.name}: {', '.join(columns.values())}"},
        ignored=(*records.ignored, *(f"{path.name}: {name}" for name in not_read(table.header, set(columns.values())))),
    )


def _columns(table: Table) -> dict[str, str]:
    """Return the table's own name of each column that it has; ValueError if one is missing."""
    by_heading = {heading(name): name for name in reversed(table.header)}
    missing = [name for name in NEEDED if name not in by_heading]
    if missing:
        raise ValueError(
            f"{table.path}: no column {missing[0]!r}; columns found: {listing(table.header)}. It needs "
            f"{', '.join(NEEDED)}, and may have {', '.join(OPTIONAL)}"
        )
    return {name: by_heading[name] for name in (*NEEDED, *OPTIONAL) if name in by_heading}


def _cells(raw: pl.DataFrame, columns: dict[str, str]) -> Iterator[tuple[int, Cells]]:
    """Yield the number and the cleaned cells of each row."""
    ids = ("query_id", "reference_id", "target_id")
    absent = [name for name in OPTIONAL if name not in columns]
    frame = raw.select(
        "row",
        *((clean_name if name in ids else clean)(pl.col(column)).alias(name) for name, column in columns.items()),
        *(pl.lit(None, pl.String).alias(name) for name in absent),
    )
    for cells in frame.iter_rows(named=True):
        yield cells.pop("row"), cells


def _grouped(path: Path, rows: Iterator[tuple[int, Cells]]) -> tuple[list[ComposedRow], list[Reject]]:
    """Return one row per query, and reject rows for answers that are left out."""
    queries: dict[str, ComposedRow] = {}
    unnamed: list[ComposedRow] = []
    rejects: list[Reject] = []
    for row, cells in rows:
        new = _query(path, row, cells)
        first = queries.get(new.query_id)
        fault = _other(first, new) if first is not None else None
        grade = _grade(cells["grade"])
        target = cells["target_id"]
        if not new.query_id:
            unnamed.append(new)
        elif fault is None:
            first = queries.setdefault(new.query_id, new)
            if grade is None:
                fault = "grade is no whole number from 1", str(cells["grade"])
            elif target is None and first is not new:
                fault = "empty target", ""
            elif target in first.answers:
                fault = "answer twice", str(target)
            elif target is not None:
                first.answers[target] = grade
        if fault is not None:
            shown = f"{new.query_id}: {fault[1]}" if fault[1] else new.query_id
            rejects.append((row, target, path.name, fault[0], shown, ANSWER_DROPPED))
    return [*unnamed, *queries.values()], rejects


def _query(path: Path, row: int, cells: Cells) -> ComposedRow:
    split = SPLIT_NAMES.get((cells["split"] or "").lower())
    if cells["split"] and split is None:
        raise ValueError(f"{path}: row {row}: split = {show(cells['split'])}; {SPLIT_ADVICE}")
    query_id, reference, text = (cells[name] or "" for name in ("query_id", "reference_id", "text"))
    subset, slices = (_listed(cells[name]) for name in ("subset", "slice"))
    return ComposedRow(row, query_id, reference, text, {}, subset, split, slices)


def _other(first: ComposedRow, new: ComposedRow) -> tuple[str, str] | None:
    """Return the fault of a further row of a query that has a value which its first row has not."""
    for name, value in (("reference", new.reference), ("text", new.text), ("subset", new.subset), ("split", new.split)):
        if value and value != getattr(first, name):
            return "query id twice", f"another {name} than in row {first.row}"
    return None


def _grade(cell: str | None) -> int | None:
    """Return the grade of a cell, 1 for an empty one, None for a wrong one.

    >>> _grade(None), _grade("2"), _grade("2.0"), _grade("0"), _grade("high")
    (1, 2, 2, None, None)
    """
    number = (cell or "1").removesuffix(".0")
    return int(number) if number.isascii() and number.isdigit() and len(number) < 10 and int(number) > 0 else None


def _listed(cell: str | None) -> tuple[str, ...]:
    return tuple(part for each in (cell or "").split("|") if (part := clean_string(each)))


def _odd_sizes(path: Path, rows: list[ComposedRow], used: set[str]) -> pl.DataFrame:
    """Return a note for each subset of another size than most: its query is easier or harder than the others."""
    sized = [(row, len(set(row.subset) - {row.reference})) for row in rows if row.subset and row.query_id in used]
    usual = Counter(size for _, size in sized).most_common(1)
    reason = "subset of another size than most"
    odd = [
        (row.row, row.reference, path.name, reason, f"{row.query_id}: {size} products", RETAINED)
        for row, size in sized
        if size != usual[0][0]
    ]
    return pl.DataFrame(odd, schema=REJECTS, orient="row")


def _both(first: ComposedQueries | None, second: ComposedQueries) -> ComposedQueries:
    if first is None:
        return second
    return joined_queries((first, second))
