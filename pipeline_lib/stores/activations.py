"""Stored activations: the tokens (or cells of a feature map) that enter the last layer groups of a tower.

The tokens of all items are concatenated in one mapped matrix, and ids.parquet has the number of each item's tokens. So
a short text takes little space, and a batch is padded to its own longest text. The header names the encoder, the
preprocessing and the boundary: the number of layer groups after it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import write_json, write_table
from pipeline_lib.artifacts.read import read_table
from pipeline_lib.artifacts.remote import Location, local_folder
from pipeline_lib.stores.boundary import TowerBoundary
from pipeline_lib.stores.drawn_views import DrawnViews
from pipeline_lib.stores.numbers import as_floats
from pipeline_lib.stores.store import HEADER, IDS, MATRIX, MatrixWriter, item_rows, map_matrix, read_header, rows_of

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class ActivationHeader:
    """Encoder, preprocessing and boundary of the activations: they enter the last `groups_behind` layer groups.

    `grid` is the shape of an item's tokens if all items have the same, e.g. [7, 7] for a feature map; None for texts. A
    store of drawn `views` has `views.count` consecutive items for each of its `count` ids.
    """

    encoder: str
    preprocessing: str
    dtype: str
    groups_behind: int
    first_group: str
    width: int
    tokens: int
    count: int
    grid: list[int] | None
    views: DrawnViews | None = None


@dataclass(frozen=True)
class ActivationStore:
    """An open store; item i has rows first[i] to first[i + 1] - 1 of `matrix` (tokens, width), mapped from disk."""

    header: ActivationHeader
    ids: list[str]
    first: Rows
    matrix: NDArray[Any]
    folder: Path

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.ids)}

    def lengths(self, ids: Sequence[str]) -> Rows:
        """Return the number of tokens of each item; ValueError names the first id that the store lacks."""
        items = self.positions(ids)
        return self.first[items + 1] - self.first[items]

    def gather(
        self, ids: Sequence[str], views: Rows | None = None
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.bool_]]:
        """Return tokens (items, *grid, width) and their mask (items, longest), in the store's dtype.

        `views` numbers one drawn view for each id. Texts are (items, longest, width), with zeros where the mask is
        False. bfloat16 becomes float32, because numpy has no bfloat16.
        """
        return self.gather_at(self.positions(ids), views)

    def gather_at(
        self, positions: Rows, views: Rows | None = None
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.bool_]]:
        """Return the same as `gather`, by the positions of the items."""
        items, grid = item_rows(positions, self.header.views, views), self.header.grid
        starts, lengths = self.first[items], self.first[items + 1] - self.first[items]
        mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
        width = self.header.width
        if grid is not None:
            return as_floats(self._gather(items)).reshape(len(items), *grid, width), mask
        found = np.zeros((*mask.shape, width), dtype=self.matrix.dtype)
        found[mask] = self.matrix[(starts[:, None] + np.arange(mask.shape[1]))[mask]]
        return as_floats(found), mask

    def stored_tokens(self, positions: Rows, views: Rows | None = None) -> NDArray[Any]:
        """Return photos' tokens (items, n, width) in the stored type, a map row by row; `views` is as in `gather`."""
        assert self.header.grid is not None, "texts have tokens of different numbers"
        items = item_rows(positions, self.header.views, views)
        return self._gather(items).reshape(len(items), -1, self.header.width)

    def _gather(self, items: Rows) -> NDArray[Any]:
        """Return a copy of the values of items that have the same number of tokens, (items, tokens x width)."""
        # A plain view of the mapped file: one gather, without the checks of np.memmap.
        return np.asarray(self.matrix).reshape(len(self.first) - 1, -1)[items]

    def has(self, key: str) -> bool:
        """Return whether the store has an id."""
        return key in self._row_of

    def positions(self, ids: Sequence[str]) -> Rows:
        """Return the position of each item; ValueError names the first id that the store lacks."""
        return rows_of(ids, self._row_of, self.folder, "activations")


class ActivationWriter:
    """Writes items block by block, so that only one block is in memory.

    `stored` are the ids of the items, of `each` tokens, that an existing file already has; new items follow them.
    """

    def __init__(
        self, folder: Path, tokens: int, width: int, dtype: str, stored: Sequence[str] = (), each: int = 0
    ) -> None:
        self._matrix = MatrixWriter(folder, tokens, width, dtype, keep=bool(stored))
        self._ids = list(stored)
        self._lengths = [each] * len(stored)
        self._written = each * len(stored)

    def write(self, ids: Sequence[str], values: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> None:
        """Append items: values (items, *grid, width), or texts (items, longest, width) with their mask.

        ValueError for a value that is not finite in the store's dtype.
        """
        flat = values[mask] if mask is not None else values.reshape(-1, values.shape[-1])
        self._matrix.write(self._written, flat)
        self._written += len(flat)
        self._ids += ids
        self._lengths += mask.sum(axis=1).tolist() if mask is not None else [len(flat) // len(ids)] * len(ids)

    def flush(self) -> None:
        """Flush the written items to disk."""
        self._matrix.flush()

    def close(self, encoder: str, preprocessing: str, split: TowerBoundary, views: DrawnViews | None = None) -> None:
        """Write ids and header; the header comes last, so that a store without one is known to be incomplete."""
        tokens, width = self._matrix.shape
        assert self._written == tokens, (self._written, tokens)
        self.flush()
        folder = self._matrix.folder
        # All views of a photo share its id and number of tokens, so each photo is listed once.
        step = views.count if views else 1
        ids, lengths = self._ids[::step], self._lengths[::step]
        table = pl.DataFrame({"id": ids, "tokens": lengths}, schema={"id": pl.String, "tokens": pl.Int32})
        write_table(table, folder / IDS)
        header = ActivationHeader(
            encoder,
            preprocessing,
            self._matrix.dtype,
            split.num_suffix_groups,
            split.first_group,
            width,
            tokens,
            len(ids),
            list(split.shape[:-1]) or None,
            views,
        )
        write_json(folder / HEADER, asdict(header))


def open_activations(place: Location, encoder: str | None = None, preprocessing: str | None = None) -> ActivationStore:
    """Open a store; one at a URL is copied here first.

    Its matrix may have hundreds of GB and is not read here, so it has no checksum. ValueError if it is missing or
    incomplete, does not fit its header, or has another encoder or preprocessing.
    """
    folder = local_folder(place, paths.COPIES)
    header = read_header(ActivationHeader, folder, place, encoder, preprocessing)
    table = read_table(folder / IDS, ["id", "tokens"])
    lengths = np.repeat(table["tokens"].to_numpy(), header.views.count if header.views else 1)
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    matrix = map_matrix(folder / MATRIX)
    if matrix.shape != (header.tokens, header.width) or (len(table), int(first[-1])) != (header.count, header.tokens):
        raise ValueError(
            f"{folder}: {len(table)} ids of {first[-1]} tokens and a {matrix.shape} matrix, but the header says "
            f"{header}; run `dvc repro`"
        )
    return ActivationStore(header, table["id"].to_list(), first, matrix, folder)
