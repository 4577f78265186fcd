"""Reads the rows of a CSV file one by one; a row that cannot be read is returned with its fault, and no row is lost.

The rules are those of RFC 4180, and a quotation mark inside an unquoted field (5" pipe) is a character, as pandas and
Excel read it. If a quoted field is malformed, reading continues with the next line that has enough fields
for a row, so that an unclosed quotation mark cannot swallow the rows after it.
"""

import csv
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

MAX_SHOWN = 60
BARE_QUOTE = "quotation mark that is not closed or not doubled"
LONG_CELL = f"cell of more than {csv.field_size_limit():,} characters"
MORE_FIELDS = "more fields than the header"
EMPTY_FIELDS = "more fields than the header, all of them empty"
FEWER_FIELDS = "fewer fields than the header"
ROWS_IN_QUOTES = "quoted line break followed by what looks like a row"
LOST = (BARE_QUOTE, LONG_CELL, MORE_FIELDS)


class Row(NamedTuple):
    """One row: its number as a spreadsheet counts (from 1), its lines, its text, its cells, and a fault or "".

    There are as many cells as columns, unless the fault is one of LOST or only the first columns were asked for.
    """

    number: int
    first_line: int
    num_lines: int
    text: str
    cells: list[str]
    fault: str

    def describe(self) -> str:
        """Return where the row is in the file, and how it begins."""
        last = self.first_line + self.num_lines - 1
        where = f"line {last}" if self.num_lines == 1 else f"lines {self.first_line} to {last}"
        return f"{where}: {self.text.strip()[:MAX_SHOWN]}"


@dataclass
class _Lines:
    """The lines of a file for the csv module; lines of a malformed row can be put back."""

    source: Iterator[str]
    taken: list[str] = field(default_factory=list)
    waiting: deque[str] = field(default_factory=deque)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.waiting.popleft() if self.waiting else next(self.source)
        self.taken.append(line)
        return line

    def put_back(self, used: int) -> None:
        """Return all taken lines but the first `used` to the file."""
        self.waiting.extendleft(reversed(self.taken[used:]))
        del self.taken[used:]


def read_header(lines: Iterable[str], delimiter: str) -> list[str]:
    """Return the cells of the first row that has any, an empty list if there is none; csv.Error for a long cell."""
    rows = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    return next((cells for cells in rows if "".join(cells).strip()), [])


def read_rows(
    source: Iterable[str], delimiter: str, width: int, quotes_are_bare: Callable[[], bool], num_used: int | None = None
) -> Iterator[Row]:
    """Yield every row of a file's lines that is not empty, the header included.

    With `num_used`, a row that needs no more has the cells of so many columns, and one of all that follow.

    `quotes_are_bare` says whether the file has quotation marks that no CSV writer leaves. Then a quoted line break that
    is followed by what looks like a row is a fault of the quotation marks; else it is noted and the row is read.
    """
    lines = _Lines(iter(source))
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    first = 1
    taken = lines.taken
    for number, line in enumerate(lines, start=1):
        fault, num_cuts = "", -1
        if '"' not in line:
            num_cuts = _num_cuts(line, delimiter, width, num_used)
            cells = line.rstrip("\r\n").split(delimiter, num_cuts)
        else:
            lines.put_back(0)
            try:
                cells = next(reader)
            except csv.Error as error:
                cells, fault = [], LONG_CELL if "limit" in str(error) and len(taken) == 1 else BARE_QUOTE
        if num_cuts < 0 and len(cells) != width and not fault and not _is_empty(cells):
            cells, fault = _fit(cells, width)
        if len(taken) > 1 and fault not in LOST:
            fault = _fault_of_break(taken, delimiter, width, quotes_are_bare) or fault
        used, lost = len(taken), fault in LOST
        if lost and used > 1 and (fault != MORE_FIELDS or quotes_are_bare()):
            used = _first_row(taken, delimiter, width)
        if lost or not _is_empty(cells):
            yield Row(number, first, used, line if used == 1 else "".join(taken[:used]), cells, fault)
        if used < len(taken):
            lines.put_back(used)
        first += used
        taken.clear()


def find_bare_quotes(source: Iterable[str], delimiter: str, width: int) -> bool:
    """Return whether the file has a quotation mark that no CSV writer leaves: inside a field that is not quoted."""
    return any(
        row.fault == BARE_QUOTE
        or any('"' in cell and '"{}"'.format(cell.replace('"', '""')) not in row.text for cell in row.cells)
        for row in read_rows(source, delimiter, width, lambda: False)
        if '"' in row.text
    )


def _fault_of_break(lines: list[str], delimiter: str, width: int, quotes_are_bare: Callable[[], bool]) -> str:
    """Return the fault of a row with quoted line breaks, if its lines may be rows of their own."""
    rows = [_may_be_row(line, delimiter, width) for line in lines if line.strip()]
    if not any(rows[1:]):
        return ""
    if quotes_are_bare():
        return BARE_QUOTE
    return ROWS_IN_QUOTES if all(rows) else ""


def _num_cuts(line: str, delimiter: str, width: int, num_used: int | None) -> int:
    """Return at how many delimiters a line without quotation marks is cut, -1 for all, which an odd row needs."""
    if num_used is None or line.count(delimiter) + 1 != width or not line[: line.find(delimiter)].strip():
        return -1
    return num_used


def _is_empty(cells: list[str]) -> bool:
    return not any(cells) or not "".join(cells).strip()


def _fit(cells: list[str], width: int) -> tuple[list[str], str]:
    """Return the cells of a row of another width, and its fault."""
    if not _is_empty(cells[width:]):
        return cells, MORE_FIELDS
    return cells[:width] + [""] * (width - len(cells)), EMPTY_FIELDS if len(cells) > width else FEWER_FIELDS


def _first_row(taken: list[str], delimiter: str, width: int) -> int:
    """Return how many lines of a malformed row come before one that may be a row of its own; at least 1."""
    return next((at for at in range(1, len(taken)) if _may_be_row(taken[at], delimiter, width)), len(taken))


def _may_be_row(line: str, delimiter: str, width: int) -> bool:
    return line.count(delimiter) >= width - 1
