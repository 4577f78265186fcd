"""Reads the sample submission that a judge hands out: its two column names, and its ids in their order."""

from pathlib import Path

import polars as pl

from pipeline_lib.datasets.table_file import check_utf8, read_columns, read_header
from pipeline_lib.params.data import DataParams


def read_sample(data: DataParams) -> pl.DataFrame | None:
    """Return the two columns of data.sample_submission as strings, the id being the first; None if none is named.

    Raises ValueError for a file that is not there or not inside the root, for other than two columns, and for an id
    that is empty or stands twice.
    """
    if data.sample_submission is None:
        return None
    path = Path(data.root) / data.sample_submission
    if not path.is_file() or not path.resolve().is_relative_to(Path(data.root).resolve()):
        raise ValueError(f"data.sample_submission = {data.sample_submission!r}: no such file in {data.root}")
    check_utf8(path)
    header = read_header(path)
    if len(header) != 2 or len(set(header)) != 2:
        raise ValueError(
            f"{path}: a sample submission has two columns, the id first and the label second; found {', '.join(header)}"
        )
    ids = header[0]
    rows = read_columns(path, header, header)
    empty = rows.filter(pl.col(ids).is_null())
    if len(empty):
        raise ValueError(f"{path}: row {empty['row'][0]}: the id is empty")
    twice = rows.filter(~pl.col(ids).is_first_distinct())
    if len(twice):
        raise ValueError(f"{path}: row {twice['row'][0]}: the id {twice[ids][0]!r} stands twice")
    return rows.select(header).fill_null("")
