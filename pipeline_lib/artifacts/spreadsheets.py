"""Notes about cells of a CSV file that a spreadsheet would run as formulas; the file has what its reader expects.

A judge of a competition compares ids and labels letter by letter, so nothing is put before them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polars import DataFrame

# A spreadsheet also passes over white space before such a sign; a number may have a sign.
FORMULA, NUMBER = r"^\s*[=+\-@]", r"^\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s*$"
LONGEST = 60


def formula_notes(frame: DataFrame, path: Path) -> list[str]:
    """Return a note for a CSV file of a table if cells or names of columns begin with =, +, - or @; else none."""
    import polars as pl

    found, first = 0, ""
    names = pl.DataFrame({str(number): [name] for number, name in enumerate(frame.columns)})
    for part, row in ((names, 1), (frame.select(pl.col(pl.String)), 2)):
        for column in part.iter_columns():
            cells = pl.DataFrame({"cell": column}).with_row_index("row", offset=row)
            starts = pl.col("cell").str.contains(FORMULA) & ~pl.col("cell").str.contains(NUMBER)
            cells = cells.filter(starts)
            found += cells.height
            if cells.height and not first:
                number, cell = cells.row(0)
                first = f"row {number}, {cell[:LONGEST]!r}"
    if not found:
        return []
    return [
        f"{path}: {found:,} cells begin with =, +, - or @, the first in {first}; a spreadsheet would run them as "
        "formulas, so import the columns as text"
    ]
