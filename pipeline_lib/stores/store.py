"""A feature store: ids, one memory-mapped matrix, and a header that says which encoder and preprocessing made it.

The matrix is a plain safetensors file, so other tools read it; it is mapped, never loaded, because a catalogue of
millions at 512 dimensions is larger than a training process should hold. What does not fit its header is refused.
"""

import json
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import read_json, write_json, write_table, writing
from pipeline_lib.artifacts.remote import Place, local_folder
from pipeline_lib.stores.drawn_views import DrawnViews
from pipeline_lib.stores.numbers import DTYPES, as_floats, as_stored

HEADER, IDS, MATRIX = "header.json", "ids.parquet", "matrix.safetensors"


@dataclass(frozen=True)
class StoreHeader:
    """Who made the features and how large they are; `similarity` says how embeddings are compared (cosine | dot).

    Where `views` were drawn, there are so many rows for each of the `count` ids, one after another.
    """

    encoder: str
    preprocessing: str
    dtype: str
    dim: int
    count: int
    similarity: str = "cosine"
    views: DrawnViews | None = None


def rows_of(ids: Sequence[str], known: Mapping[str, int], folder: Path, what: str) -> NDArray[np.int64]:
    """Return the row of each id in the store of a folder; ValueError names the first id it lacks."""
    try:
        return np.fromiter((known[key] for key in ids), dtype=np.int64, count=len(ids))
    except KeyError as error:
        raise ValueError(
            f"{folder}: no {what} for {error.args[0]!r} among {len(known)} ids; "
            "the store belongs to another catalogue: run `dvc repro`"
        ) from None


@dataclass(frozen=True)
class FeatureStore:
    """An open store; `matrix` is (count, dim), mapped from disk, its row i belongs to `ids[i]`.

    It holds bfloat16 as bits, see `numbers`; `rows` gives floats of any. With drawn views it is (count x views, dim).
    """

    header: StoreHeader
    ids: list[str]
    matrix: NDArray[Any]
    folder: Path

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.ids)}

    def positions(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the row of each id; ValueError names the first id the store lacks."""
        return rows_of(ids, self._row_of, self.folder, "features")

    def rows(self, ids: Sequence[str], views: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return the features of `ids`, of drawn views those numbered `views`, as float32 (len(ids), dim)."""
        places = item_rows(self.positions(ids), self.header.views, views)
        return np.asarray(as_floats(self.matrix[places]), dtype=np.float32)


def item_rows(
    positions: NDArray[np.int64], drawn: DrawnViews | None, views: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """Return the items of a store: its ids' positions, or of each id the drawn view that is asked for."""
    assert (drawn is None) == (views is None), "a number of a view goes with a store of drawn views"
    return positions if drawn is None or views is None else positions * drawn.count + views


class MatrixWriter:
    """Writes a matrix of known size row block by row block, so that it is never held whole.

    With `keep` the file that is there, which `holds_matrix` must have said is one of this size, is written on.
    """

    def __init__(self, folder: Path, count: int, dim: int, dtype: str, keep: bool = False) -> None:
        self.dtype = dtype
        self.folder = folder
        self.shape = (count, dim)
        folder.mkdir(parents=True, exist_ok=True)
        if keep:
            assert holds_matrix(folder, count, dim, dtype), folder
        else:
            head, size = _head(count, dim, dtype)
            with writing(folder / MATRIX), (folder / MATRIX).open("wb") as stream:
                stream.write(head)
                stream.flush()
                # Room is taken now: a mapped page that finds none later ends the process by a signal, without a word.
                os.posix_fallocate(stream.fileno(), 0, len(head) + size)
        self._matrix = map_matrix(folder / MATRIX, "r+")

    def write(self, start: int, block: NDArray[Any]) -> None:
        """Put `block` (rows, dim) at row `start`; ValueError for a value that is not finite in the store's dtype."""
        stored, finite = as_stored(block, self.dtype)
        if not finite:
            raise ValueError(f"{self.folder}: a feature is not finite in {self.dtype}; store it as float32")
        self._matrix[start : start + len(block)] = stored

    def flush(self) -> None:
        """Have what was written on the disk."""
        if isinstance(self._matrix, np.memmap):
            self._matrix.flush()

    def close(
        self,
        ids: Sequence[str],
        encoder: str,
        preprocessing: str,
        similarity: str = "cosine",
        views: DrawnViews | None = None,
    ) -> None:
        """Write ids and header; the header comes last, so that a store without one is known to be half."""
        rows, dim = self.shape
        if len(ids) * (views.count if views else 1) != rows:
            raise ValueError(f"{self.folder}: {len(ids)} ids for {rows} rows")
        self.flush()
        write_table(pl.DataFrame({"id": list(ids)}, schema={"id": pl.String}), self.folder / IDS)
        header = StoreHeader(encoder, preprocessing, self.dtype, dim, len(ids), similarity, views)
        write_json(self.folder / HEADER, asdict(header))


def _head(count: int, dim: int, dtype: str) -> tuple[bytes, int]:
    """Return what a safetensors file of one such matrix begins with, and how many bytes follow."""
    name, kind = DTYPES[dtype]
    size = count * dim * np.dtype(kind).itemsize
    text = json.dumps({"matrix": {"dtype": name, "shape": [count, dim], "data_offsets": [0, size]}}).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, size


def holds_matrix(folder: Path, count: int, dim: int, dtype: str) -> bool:
    """Tell whether a folder has a matrix file of this size and type, with room for all its values, written or not."""
    head, size = _head(count, dim, dtype)
    path = folder / MATRIX
    if not path.is_file() or path.stat().st_size != len(head) + size:
        return False
    with path.open("rb") as stream:
        return stream.read(len(head)) == head


def map_matrix(path: Path, mode: Any = "r") -> NDArray[Any]:
    """Map the single matrix of a safetensors file; ValueError if the file is shorter than its header says."""
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        entry = json.loads(stream.read(length))["matrix"]
    kinds = dict(DTYPES.values())
    begin, end = entry["data_offsets"]
    if path.stat().st_size != 8 + length + end:
        raise ValueError(f"{path}: truncated: {path.stat().st_size} bytes of {8 + length + end}; run `dvc repro`")
    shape = tuple(entry["shape"])
    if begin == end:
        return np.zeros(shape, dtype=kinds[entry["dtype"]])
    return np.memmap(path, dtype=kinds[entry["dtype"]], mode=mode, offset=8 + length, shape=shape)


def write_store(
    folder: Path,
    ids: Sequence[str],
    matrix: NDArray[Any],
    encoder: str,
    preprocessing: str,
    dtype: str = "float16",
    similarity: str = "cosine",
) -> None:
    """Write a store from a matrix (count, dim) that is in memory."""
    writer = MatrixWriter(folder, matrix.shape[0], matrix.shape[1], dtype)
    writer.write(0, matrix)
    writer.close(ids, encoder, preprocessing, similarity)


def read_header(folder: Path, place: Place, encoder: str | None, preprocessing: str | None) -> dict[str, Any]:
    """Return the header of the store in a folder, which stands for `place`.

    ValueError if there is none, or if another encoder or preprocessing made it than the one asked for, None being any.
    """
    if not (folder / HEADER).is_file():
        raise ValueError(f"{place}: no feature store here (its {HEADER} is missing); run `dvc repro`")
    header: dict[str, Any] = read_json(folder / HEADER)
    for what, wanted in (("encoder", encoder), ("preprocessing", preprocessing)):
        if wanted is not None and wanted != header[what]:
            raise ValueError(f"{place}: made by {what} {header[what]}, but {wanted} is asked for; run `dvc repro`")
    return header | {"views": DrawnViews(**header["views"]) if header.get("views") else None}


def open_store(place: Place, encoder: str | None = None, preprocessing: str | None = None) -> FeatureStore:
    """Open a store, one at a URL by a copy here (a row is a kilobyte, too little to ask a server for).

    ValueError if it is missing, half, of other sizes than its header, or of another maker.
    """
    folder = local_folder(place, paths.COPIES)
    header = StoreHeader(**read_header(folder, place, encoder, preprocessing))
    ids = pl.read_parquet(folder / IDS)["id"].to_list()
    matrix = map_matrix(folder / MATRIX)
    rows = header.count * (header.views.count if header.views else 1)
    if matrix.shape != (rows, header.dim) or len(ids) != header.count:
        raise ValueError(f"{place}: {len(ids)} ids and a {matrix.shape} matrix, but the header says {header}")
    return FeatureStore(header, ids, matrix, folder)
