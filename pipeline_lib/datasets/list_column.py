"""A column of lists of strings, made from one flat column: of Python lists polars makes it with 4.8 kB a row.

findings/polars_list_column_memory.sh measures that: 600 MB for the paths of 123,403 photos.
"""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import polars as pl


def list_column(name: str, lists: Sequence[Sequence[str]]) -> pl.Series:
    """Return a column of lists, (rows,), which may be empty.

    >>> list_column("media", [["a.jpg", "b.jpg"], []]).to_list()
    [['a.jpg', 'b.jpg'], []]
    """
    rows = np.arange(len(lists))
    owner = np.repeat(rows, np.fromiter(map(len, lists), np.int64, len(lists)))
    values = pl.Series(name, list(chain.from_iterable(lists)), dtype=pl.String)
    grouped = pl.DataFrame({"row": owner, name: values}).group_by("row", maintain_order=True).agg(name)
    joined = pl.DataFrame({"row": rows}).join(grouped, on="row", how="left", maintain_order="left")
    return joined[name].fill_null(pl.Series([[]], dtype=pl.List(pl.String)))
