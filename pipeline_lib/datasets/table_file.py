"""Finds a CSV file and reads its columns as strings; rows that cannot be read become reject rows.

Rows have the numbers of a spreadsheet: the header of most tables is row 1. Columns are separated by commas, semicolons,
tabs or bars, whichever gives the header the most columns.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from operator import itemgetter
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.io import ROW_GROUP
from pipeline_lib.catalogue.schema import HEADER_AGAIN, REJECTED, REJECTS, RETAINED
from pipeline_lib.catalogue.strings import clean_strings
from pipeline_lib.datasets.csv_rows import LOST, Row, find_bare_quotes, read_header, read_rows
from pipeline_lib.datasets.text_file import find_encoding

DELIMITERS = ",;\t|"
# White space, and the byte order mark that a second file leaves in a table made with `cat`.
MARK = "\ufeff \t\r\n"


@dataclass(frozen=True)
class Table:
    """A CSV file whose encoding, delimiter and column names are known."""

    path: Path
    encoding: str
    delimiter: str
    header: list[str]


def find_table(root: Path, table: str | None, suffix: str = ".csv", others: Collection[str | None] = ()) -> Path:
    """Return the named table, or the only file in `root` with the suffix; ValueError with the files found instead.

    `others` are files that another setting names.
    """
    kind = suffix.removeprefix(".").upper()
    check_root(root, f"a {kind} and its images")
    files = sorted(path.name for path in root.iterdir() if path.is_file())
    here = [name for name in files if name.lower().endswith(suffix) and name not in others]
    if table is not None:
        if not (root / table).is_file():
            raise ValueError(f"data.table = {table!r}: no such file in {root}; {kind} files there: {here or 'none'}")
        return root / table
    if not here:
        found = f" (files there: {', '.join(files[:5])})" if files else ""
        raise ValueError(
            f"data.root = {str(root)!r}: no {suffix} file there{found}; add one, or name the table in data.table"
        )
    if len(here) > 1:
        raise ValueError(f"data.root = {str(root)!r}: several {kind} files: {', '.join(here)}; name one in data.table")
    return root / here[0]


def check_root(root: Path, content: str) -> None:
    """Raise ValueError unless `root` is a folder; `content` is what to put there."""
    if not root.is_dir():
        what = "a file, not a folder" if root.exists() else "no such folder"
        raise ValueError(f"data.root = {str(root)!r}: {what}; put {content} there, or `dvc pull` it")


def open_table(path: Path) -> Table:
    """Return a table with its column names cleaned; ValueError if it is empty or not a text file."""
    encoding = find_encoding(path)
    headers = {}
    for delimiter in DELIMITERS:
        with path.open(encoding=encoding, newline="") as stream:
            headers[delimiter] = clean_strings(read_header(stream, delimiter))
    delimiter = max(headers, key=lambda one: len(headers[one]))
    if not any(headers[delimiter]):
        raise ValueError(f"{path}: the table is empty: its first row must name the columns")
    return Table(path, encoding, delimiter, headers[delimiter])


def read_columns(table: Table, columns: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return `row` and the `columns` as stripped strings (empty is null), and reject rows.

    Rows without any value are left out. Raises ValueError if the table has no rows.
    """
    chosen = itemgetter(0, *(table.header.index(name) + 1 for name in columns))
    names = _names_of(table.header)
    schema = pl.Schema({"row": pl.Int64(), **dict.fromkeys(columns, pl.String())})
    frames, cells, rejects = [pl.DataFrame(schema=schema)], [], []
    for row in _data_rows(table):
        fault = row.fault
        if row.cells and row.cells[0].strip(MARK).casefold() == names[0] and _names_of(row.cells) == names:
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


def _data_rows(table: Table) -> Iterator[Row]:
    """Yield the rows after the header."""

    @cache
    def quotes_are_bare() -> bool:
        with table.path.open(encoding=table.encoding, newline="") as stream:
            return find_bare_quotes(stream, table.delimiter, len(table.header))

    with table.path.open(encoding=table.encoding, newline="") as stream:
        yield from islice(read_rows(stream, table.delimiter, len(table.header), quotes_are_bare), 1, None)


def _names_of(cells: Iterable[str]) -> list[str]:
    return [cell.strip(MARK).casefold() for cell in cells]
