"""Reads a competition's sample submission: its two column names, and its ids in order."""

from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.messages import show
from pipeline_lib.artifacts.path_guard import inner_file
from pipeline_lib.datasets.table_file import listing, open_table, read_columns
from pipeline_lib.params.data import DataParams


def read_sample(data: DataParams) -> pl.DataFrame | None:
    """Return the two columns of data.sample_submission as strings, the id first; None if params name no file.

    Raises ValueError if the file does not exist inside the root, if it does not have two columns, or if an id is empty
    or repeated.
    """
    if data.sample_submission is None:
        return None
    path = inner_file(Path(data.root), data.sample_submission)
    if not path.is_file():
        raise ValueError(f"data.sample_submission = {data.sample_submission!r}: no such file in {data.root}")
    table = open_table(path)
    header = table.header
    if len(header) != 2 or len(set(header)) != 2:
        raise ValueError(
            f"{path}: a sample submission has two columns, the id first and the label second; found {listing(header)}"
        )
    ids = header[0]
    rows, rejects = read_columns(table, header)
    if len(rejects):
        row, reason, value = rejects.select("row", "reason", "value").row(0)
        raise ValueError(f"{path}: row {row}: {reason} ({value})")
    empty = rows.filter(pl.col(ids).is_null())
    if len(empty):
        raise ValueError(f"{path}: row {empty['row'][0]}: the id is empty")
    repeated = rows.filter(~pl.col(ids).is_first_distinct())
    if len(repeated):
        raise ValueError(f"{path}: row {repeated['row'][0]}: the id {show(repeated[ids][0])} is repeated")
    return rows.select(header).fill_null("")
