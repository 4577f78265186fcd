"""Finds a CSV file and reads its columns as strings; rows that cannot be read become reject rows.

Rows have the numbers of a spreadsheet: the header of most tables is row 1. Columns are separated by commas, semicolons,
tabs or bars, whichever gives the header the most columns.
"""

import csv
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from operator import itemgetter
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.io import ROW_GROUP
from pipeline_lib.artifacts.path_guard import inner_file
from pipeline_lib.catalogue.schema import HEADER_AGAIN, REJECTED, REJECTS, RETAINED
from pipeline_lib.catalogue.strings import clean_strings
from pipeline_lib.datasets.csv_rows import LONG_CELL, LOST, Row, find_bare_quotes, read_header, read_rows
from pipeline_lib.datasets.text_file import find_encoding

DELIMITERS = ",;\t|"
# White space, and the byte order mark that a second file leaves in a table made with `cat`.
MARK = "\ufeff \t\r\n"
MAX_LISTED = 200


@dataclass(frozen=True)
class Table:
    """A CSV file whose encoding, delimiter and column names are known."""

    path: Path
    encoding: str
    delimiter: str
    header: list[str]


def find_table(root: Path, table: str | None, suffix: str = ".csv", others: Collection[str | None] = ()) -> Path:
    """Return the named table, or the only file in `root` with the suffix; ValueError with the files found instead.

    `others` are files that another setting names. A link that leaves the data root is refused.
    """
    kind = suffix.removeprefix(".").upper()
    check_root(root, f"a {kind} and its images")
    files = sorted(path.name for path in root.iterdir() if path.is_file())
    here = [name for name in files if name.lower().endswith(suffix) and name not in others]
    if table is not None:
        if not (root / table).is_file():
            raise ValueError(f"data.table = {table!r}: no such file in {root}; {kind} files there: {here or 'none'}")
        return inner_file(root, table)
    if not here:
        found = f" (files there: {', '.join(files[:5])})" if files else ""
        raise ValueError(
            f"data.root = {str(root)!r}: no {suffix} file there{found}; add one, or name the table in data.table"
        )
    if len(here) > 1:
        raise ValueError(f"data.root = {str(root)!r}: several {kind} files: {', '.join(here)}; name one in data.table")
    return inner_file(root, here[0])


def listing(header: Sequence[str], most: int = MAX_LISTED) -> str:
    """Return the names of columns for a message, of a wide table the first ones and how many follow.

    >>> listing(["id", "", "title"]), listing(["id", "a", "b", "c"], most=2)
    ('id, (no name), title', 'id, a and 2 more')
    """
    shown = ", ".join(name or "(no name)" for name in header[:most])
    return shown if len(header) <= most else f"{shown} and {len(header) - most:,} more"


def not_read(header: Sequence[str], used: Collection[str]) -> tuple[str, ...]:
    """Return the names of the columns that are not read, of a wide table the first ones and how many follow.

    >>> not_read(["id", "a", "title", "b"], ["id", "title"])
    ('a', 'b')
    """
    names = [name for name in header if name not in used]
    more = len(names) - MAX_LISTED
    return tuple(names) if more <= 0 else (*names[:MAX_LISTED], f"{more:,} more")


def check_root(root: Path, content: str) -> None:
    """Raise ValueError unless `root` is a folder; `content` is what to put there."""
    if not root.is_dir():
        what = "a file, not a folder" if root.exists() else "no such folder"
        raise ValueError(f"data.root = {str(root)!r}: {what}; put {content} there, or `dvc pull` it")


def open_table(path: Path) -> Table:
    """Return a table with its column names cleaned; ValueError if it is empty or not a text file."""
    encoding = find_encoding(path)
    best, names, long_cells = DELIMITERS[0], list[str](), 0
    for delimiter in DELIMITERS:
        with path.open(encoding=encoding, newline="") as stream:
            try:
                found = read_header(stream, delimiter)
            except csv.Error:  # another delimiter cuts this line, or none does
                long_cells += 1
                continue
        if len(found) > len(names):
            best, names = delimiter, found
    if long_cells == len(DELIMITERS):
        raise ValueError(f"{path}: row 1: {LONG_CELL}; close its quotation mark, or name the columns in the first row")
    header = clean_strings(names)
    if not any(header):
        raise ValueError(f"{path}: the table is empty: its first row must name the columns")
    return Table(path, encoding, best, header)


def read_columns(table: Table, columns: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return `row` and the `columns` as stripped strings (empty is null), and reject rows.

    Rows without any value are left out. Raises ValueError if the table has no rows.
    """
    chosen_at = [0, *(table.header.index(name) + 1 for name in columns)]
    chosen = itemgetter(*chosen_at)
    first = _name_of(table.header[0])
    schema = pl.Schema({"row": pl.Int64(), **dict.fromkeys(columns, pl.String())})
    frames, cells, rejects = [pl.DataFrame(schema=schema)], [], []
    for row in _data_rows(table, max(chosen_at)):
        fault = row.fault
        if row.cells and _name_of(row.cells[0]) == first and _is_header(row.cells, table):
            fault = HEADER_AGAIN
        if fault:
            action = REJECTED if fault in (*LOST, HEADER_AGAIN) else RETAINED
            rejects.append((row.number, None, table.path.name, fault, row.describe(), action))
            if action == REJECTED:
                continue
        cells.append(chosen((row.number, *row.cells)))
        if len(cells) == ROW_GROUP:
            frames.append(pl.DataFrame(cells, schema=schema, orient="row"))
            cells = []
    frame = pl.concat([*frames, pl.DataFrame(cells, schema=schema, orient="row")])
    if not len(frame) and not rejects:
        raise ValueError(f"{table.path}: the table is empty: it has a header and no rows")
    stripped = [pl.col(name).str.strip_chars().replace("", None) for name in columns]
    return frame.select("row", *stripped), pl.DataFrame(rejects, schema=REJECTS, orient="row")


def _data_rows(table: Table, used: int) -> Iterator[Row]:
    """Yield the rows after the header, with the cells of the first `used` columns."""

    @cache
    def quotes_are_bare() -> bool:
        with table.path.open(encoding=table.encoding, newline="") as stream:
            return find_bare_quotes(stream, table.delimiter, len(table.header))

    with table.path.open(encoding=table.encoding, newline="") as stream:
        yield from islice(read_rows(stream, table.delimiter, len(table.header), quotes_are_bare, used), 1, None)


def _is_header(cells: list[str], table: Table) -> bool:
    if len(cells) < len(table.header):  # the last one has all columns that are not used
        cells = [*cells[:-1], *cells[-1].split(table.delimiter)]
    return len(cells) == len(table.header) and all(
        _name_of(cell) == _name_of(name) for cell, name in zip(cells, table.header, strict=True)
    )


def _name_of(cell: str) -> str:
    return cell.strip(MARK).casefold()
