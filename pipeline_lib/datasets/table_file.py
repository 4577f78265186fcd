"""Finds a CSV file, checks its encoding and reads its columns as strings.

Errors name the row as a spreadsheet numbers it: the header is row 1.
"""

import codecs
import csv
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

BLOCK_SIZE = 1 << 20


def find_table(root: Path, table: str | None, suffix: str = ".csv") -> Path:
    """Return the named table, or the only file in `root` with the suffix; ValueError with the files found instead."""
    kind = suffix.removeprefix(".").upper()
    if not root.is_dir():
        raise ValueError(
            f"data.root = {str(root)!r}: no such folder; put a {kind} and its images there, or `dvc pull` it"
        )
    here = sorted(path.name for path in root.iterdir() if path.suffix.lower() == suffix and path.is_file())
    if table is not None:
        if not (root / table).is_file():
            raise ValueError(f"data.table = {table!r}: no such file in {root}; {kind} files there: {here or 'none'}")
        return root / table
    if not here:
        raise ValueError(f"data.root = {str(root)!r}: no {suffix} file there; add one, or name the table in data.table")
    if len(here) > 1:
        raise ValueError(f"data.root = {str(root)!r}: several {kind} files: {', '.join(here)}; name one in data.table")
    return root / here[0]


def check_utf8(path: Path) -> None:
    """Raise ValueError with row and byte if a table is not UTF-8; a byte order mark is allowed."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = 0
    with path.open("rb") as stream:
        while True:
            block = stream.read(BLOCK_SIZE)
            waiting = len(decoder.getstate()[0])
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                position = done - waiting + error.start
                raise ValueError(
                    f"{path}: row {_row_at(path, position)}: byte 0x{error.object[error.start]:02x} (offset {position}"
                    ") is not UTF-8; save the table as UTF-8 (for example with `iconv -f GB18030 -t UTF-8`)"
                ) from None
            if not block:
                return
            done += len(block)


def read_header(path: Path) -> list[str]:
    """Return the column names, stripped; ValueError if the file is empty."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        header = next(csv.reader(stream), [])
    if not any(name.strip() for name in header):
        raise ValueError(f"{path}: the table is empty: its first row must name the columns")
    return [name.strip() for name in header]


def read_columns(path: Path, header: list[str], columns: list[str]) -> pl.DataFrame:
    """Return `row` and the `columns` as stripped strings (empty is null), without empty rows at the end."""
    scan = pl.scan_csv(path, infer_schema=False, row_index_name="\0row", row_index_offset=2)
    try:
        scanned_names = dict(zip(header, scan.collect_schema().names()[1:], strict=True))
        blank = pl.all_horizontal(pl.exclude("\0row").is_null())
        chosen = [pl.col(scanned_names[name]).str.strip_chars().replace("", None).alias(name) for name in columns]
        frame = scan.select(pl.col("\0row").cast(pl.Int64).alias("row"), *chosen, blank.alias("\0blank")).collect(
            engine="streaming"
        )
    except (PolarsError, ValueError) as error:
        raise ValueError(f"{path}: {_fault_in(path, len(header)) or str(error).splitlines()[0]}") from None
    last = frame.filter(~pl.col("\0blank"))["row"].max()
    frame = frame.filter(pl.col("row") <= pl.lit(last, dtype=pl.Int64)).drop("\0blank").sort("row")
    if len(frame) == 0:
        raise ValueError(f"{path}: the table is empty: it has a header and no rows")
    return frame


def _row_at(path: Path, position: int) -> int:
    """Return the row of a byte, where quoted line breaks do not start a new row."""

    def lines() -> Iterator[str]:
        left = position
        with path.open("rb") as stream:
            for line in stream:
                yield (
                    line[:left].decode("utf-8", errors="replace")
                    if left >= len(line)
                    else (line[:left].decode("utf-8", errors="replace") + "?")
                )
                left -= len(line)
                if left < 0:
                    return

    return sum(1 for _ in csv.reader(lines()))


def _fault_in(path: Path, width: int) -> str:
    """Return a message about the row that polars could not read, empty if the csv module finds no fault."""
    row = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for row, record in enumerate(csv.reader(stream, strict=True), start=1):
                if len(record) > width:
                    return f"row {row} has {len(record)} fields, but the header has {width}; quote fields with commas"
    except csv.Error as error:
        return f"row {row + 1}: {error}; quote the field and double the quotation marks inside it"
    return ""
