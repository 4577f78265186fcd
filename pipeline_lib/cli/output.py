"""How a command prints its result: a table in a terminal, tab-separated lines in a pipe, one JSON document on demand.

In a pipe each row is one line. There is no title, heading or colour, and nothing is cut or wrapped. Notes go to stderr
there, so that stdout holds rows alone. With `--json`, stdout holds one JSON document alone.
"""

import json
import math
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
Rows = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Result:
    """One result in its three forms: tables for a terminal, rows for a pipe, data for JSON.

    Lines of `head` precede the table or the rows. Lines of `notes` follow them.
    """

    data: Mapping[str, Any]
    rows: Rows
    tables: Sequence[RenderableType]
    head: Sequence[str] = field(default_factory=tuple)
    notes: Sequence[str] = field(default_factory=tuple)


def show(result: Result, as_json: bool) -> None:
    """Print a result in the form that the reader of stdout needs."""
    if as_json:
        print(json.dumps(_finite(result.data), indent=2, ensure_ascii=False, allow_nan=False))
    elif sys.stdout.isatty():
        _show_in_terminal(result)
    else:
        for line in result.head:
            print(line)
        for row in result.rows:
            print("\t".join(" ".join(cell.split()) for cell in row))
        for note in result.notes:
            print(note, file=sys.stderr)
    sys.stdout.flush()  # a reader that has closed the pipe is noticed here and not at exit


def table(title: str, headings: Sequence[str], rows: Rows, right: Collection[str] = ()) -> Table:
    """Return rows as a table for a terminal. Long cells are wrapped; the headings in `right` are aligned right."""
    drawn = Table(title=escape(title))
    for heading in headings:
        drawn.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    return drawn


def _show_in_terminal(result: Result) -> None:
    console = Console()
    for line in result.head:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for drawn in result.tables:
        console.print(drawn)
    for note in result.notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)


def _finite(value: Any) -> Any:
    """Return a value whose NaN and infinite numbers are None, because JSON has none."""
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
