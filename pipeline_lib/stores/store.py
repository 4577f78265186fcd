"""A feature store: ids, one memory-mapped matrix, and a header that names the encoder and the preprocessing.

The matrix is a plain .npy file, so other tools read it. It is mapped and never loaded: a catalogue of millions at 512
dimensions is larger than a training process should hold. A matrix that does not fit its header is refused.
"""

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import polars as pl
from numpy.lib import format as npy
from numpy.typing import NDArray

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.checksums import check_sum, checksum
from pipeline_lib.artifacts.io import write_json, write_table, writing
from pipeline_lib.artifacts.messages import one_line
from pipeline_lib.artifacts.read import damaged, read_json, read_table
from pipeline_lib.artifacts.remote import Location, local_folder
from pipeline_lib.stores.drawn_views import DrawnViews
from pipeline_lib.stores.numbers import DTYPES, as_floats, as_stored

HEADER, IDS, MATRIX = "header.json", "ids.parquet", "matrix.npy"


class Header(Protocol):
    """What the headers of all kinds of stores have."""

    @property
    def encoder(self) -> str:
        """Fingerprint of the encoder."""

    @property
    def preprocessing(self) -> str:
        """Fingerprint of the preprocessing."""

    @property
    def views(self) -> DrawnViews | None:
        """The drawn views, None for a fixed one."""


HeaderT = TypeVar("HeaderT", bound=Header)


@dataclass(frozen=True)
class StoreHeader:
    """Encoder, preprocessing and size of the features; `similarity` is how embeddings are compared (cosine | dot).

    A store of drawn `views` has `views.count` consecutive rows for each of its `count` ids. `checksum` is that of the
    matrix's file.
    """

    encoder: str
    preprocessing: str
    dtype: str
    dim: int
    count: int
    checksum: str
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
    """An open store; `matrix` (count, dim) is mapped from disk, and row i belongs to `ids[i]`.

    A store of drawn views has a matrix (count x views, dim). bfloat16 is stored as its bits (see `numbers`); `rows`
    returns floats for every type.
    """

    header: StoreHeader
    ids: list[str]
    matrix: NDArray[Any]
    folder: Path

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.ids)}

    def has(self, key: str) -> bool:
        """Return whether the store has an id."""
        return key in self._row_of

    def positions(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the row of each id; ValueError names the first id the store lacks."""
        return rows_of(ids, self._row_of, self.folder, "features")

    def rows(self, ids: Sequence[str], views: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return the features of `ids` as float32 (len(ids), dim); `views` numbers one drawn view for each id."""
        rows = item_rows(self.positions(ids), self.header.views, views)
        return np.asarray(as_floats(self.matrix[rows]), dtype=np.float32)

    def stored_rows(self, positions: NDArray[np.int64], views: NDArray[np.int64] | None = None) -> NDArray[Any]:
        """Return a copy of the rows at `positions`, in the stored type; `views` is as in `rows`."""
        # A plain view of the mapped file: indexing np.memmap takes four times as long.
        return np.asarray(self.matrix)[item_rows(positions, self.header.views, views)]


def item_rows(
    positions: NDArray[np.int64], drawn: DrawnViews | None, views: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """Return rows of the matrix: the positions themselves, or for each position the row of one drawn view."""
    assert (drawn is None) == (views is None), "view numbers go with a store of drawn views"
    return positions if drawn is None or views is None else positions * drawn.count + views


class MatrixWriter:
    """Writes a matrix of known size block by block, so that it is never in memory as a whole.

    With `keep`, the existing file is continued; `holds_matrix` must have confirmed its size.
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
                # Allocate the disk space now: a full disk under a mapped page would kill the process by a signal.
                os.posix_fallocate(stream.fileno(), 0, len(head) + size)
        self._matrix = map_matrix(folder / MATRIX, "r+")

    def write(self, start: int, block: NDArray[Any]) -> None:
        """Write `block` (rows, dim) from row `start`; ValueError for a value that is not finite in its dtype."""
        stored, finite = as_stored(block, self.dtype)
        if not finite:
            raise ValueError(f"{self.folder}: {_fault(block, start, self.dtype)}")
        self._matrix[start : start + len(block)] = stored

    def flush(self) -> None:
        """Flush the written rows to disk."""
        self._matrix.flush()

    def close(
        self,
        ids: Sequence[str],
        encoder: str,
        preprocessing: str,
        similarity: str = "cosine",
        views: DrawnViews | None = None,
    ) -> None:
        """Write ids and header; the header comes last, so that a store without one is known to be incomplete."""
        rows, dim = self.shape
        if len(ids) * (views.count if views else 1) != rows:
            raise ValueError(f"{self.folder}: {len(ids)} ids for {rows} rows")
        self.flush()
        write_table(pl.DataFrame({"id": list(ids)}, schema={"id": pl.String}), self.folder / IDS)
        total = checksum(self.folder / MATRIX)
        header = StoreHeader(encoder, preprocessing, self.dtype, dim, len(ids), total, similarity, views)
        write_json(self.folder / HEADER, asdict(header))


def _fault(block: NDArray[Any], start: int, dtype: str) -> str:
    """Return what is not finite in a block, and the setting that helps."""
    broken = ~np.isfinite(block)
    if broken.any():
        row, column = np.argwhere(broken)[0]
        return (
            f"row {start + row} is {block[row, column]}, as the encoder computed it; set the precision of the stage "
            "(features.precision or embed.precision) to fp32"
        )
    row, column = np.unravel_index(np.abs(block).argmax(), block.shape)
    return (
        f"row {start + row} has the value {block[row, column]:g}, beyond the range of {dtype}; set features.dtype = "
        "float32"
    )


def _head(count: int, dim: int, dtype: str) -> tuple[bytes, int]:
    """Return the header of a .npy file of such a matrix, and the number of bytes that follow it."""
    kind = np.dtype(DTYPES[dtype])
    stream = io.BytesIO()
    description = {"descr": npy.dtype_to_descr(kind), "fortran_order": False, "shape": (count, dim)}
    npy.write_array_header_1_0(stream, description)
    return stream.getvalue(), count * dim * kind.itemsize


def holds_matrix(folder: Path, count: int, dim: int, dtype: str) -> bool:
    """Return whether a folder has a matrix file of this size and type; its values may not be written yet."""
    head, size = _head(count, dim, dtype)
    path = folder / MATRIX
    if not path.is_file() or path.stat().st_size != len(head) + size:
        return False
    with path.open("rb") as stream:
        return stream.read(len(head)) == head


def map_matrix(path: Path, mode: Any = "r") -> np.memmap[Any, Any]:
    """Map the matrix of a .npy file; ValueError if the file is no .npy file, or shorter than its header says."""
    try:
        with path.open("rb") as stream:
            npy.read_magic(stream)
            shape, _, kind = npy.read_array_header_1_0(stream)
            expected = stream.tell() + int(np.prod(shape)) * kind.itemsize
    except Exception as error:  # numpy parses the header as Python: tokenize and ast have errors of their own
        raise damaged(path, f"not a .npy file: {one_line(error, 200)}") from None
    size = path.stat().st_size
    if size != expected:
        raise damaged(path, f"truncated: {size} bytes of {expected}")
    return npy.open_memmap(path, mode=mode)


def write_store(
    folder: Path,
    ids: Sequence[str],
    matrix: NDArray[Any],
    origin: tuple[str, str],
    dtype: str = "float16",
    similarity: str = "cosine",
) -> None:
    """Write a store from a matrix (count, dim) in memory; `origin` is its encoder and its preprocessing."""
    writer = MatrixWriter(folder, matrix.shape[0], matrix.shape[1], dtype)
    writer.write(0, matrix)
    writer.close(ids, *origin, similarity)


def read_header(
    kind: type[HeaderT], folder: Path, place: Location, encoder: str | None, preprocessing: str | None
) -> HeaderT:
    """Return the header of the store in `folder`, a local copy of `place`.

    ValueError if there is none, or if its encoder or preprocessing is not the expected one; None accepts any.
    """
    if not (folder / HEADER).is_file():
        raise ValueError(f"{place}: no feature store here (its {HEADER} is missing); run `dvc repro`")
    header = read_json(folder / HEADER, kind)
    for what, found, expected in (
        ("encoder", header.encoder, encoder),
        ("preprocessing", header.preprocessing, preprocessing),
    ):
        if expected is not None and expected != found:
            raise ValueError(f"{place}: made by {what} {found}, but {expected} is expected; run `dvc repro`")
    return header


def open_store(place: Location, encoder: str | None = None, preprocessing: str | None = None) -> FeatureStore:
    """Open a store; one at a URL is copied here first, because single rows are too small for requests to a server.

    Its matrix is read once, for its checksum. ValueError if it is missing or damaged, does not fit its header, or has
    another encoder or preprocessing.
    """
    folder = local_folder(place, paths.COPIES)
    header = read_header(StoreHeader, folder, place, encoder, preprocessing)
    ids = read_table(folder / IDS, ["id"])["id"].to_list()
    matrix = map_matrix(folder / MATRIX)
    rows = header.count * (header.views.count if header.views else 1)
    if matrix.shape != (rows, header.dim) or len(ids) != header.count:
        raise ValueError(f"{place}: {len(ids)} ids and a {matrix.shape} matrix, but the header says {header}")
    check_sum(folder / MATRIX, header.checksum)
    return FeatureStore(header, ids, matrix, folder)
