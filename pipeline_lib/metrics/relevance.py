"""The gallery positions of each query: its relevant items, its exclusions, or the subset that is ranked.

They are compressed sparse rows. A dense mask of queries x gallery would be too large.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Positions:
    """Row i is `indices[indptr[i]:indptr[i + 1]]`, ascending and without repeats."""

    indptr: NDArray[np.int64]
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def row(self, query: int) -> NDArray[np.int64]:
        """Return the gallery positions of one query."""
        return self.indices[self.indptr[query] : self.indptr[query + 1]]

    def counts(self) -> NDArray[np.int64]:
        """Return how many positions each query has, (queries,)."""
        return np.diff(self.indptr)

    def transposed(self, gallery_size: int) -> "Positions":
        """Return for each gallery position the queries that have it."""
        queries = np.repeat(np.arange(len(self)), self.counts())
        return positions_from_pairs(self.indices, queries, gallery_size)

    def take(self, queries: NDArray[np.int64]) -> "Positions":
        """Return the rows of the given queries, in that order."""
        return positions_from_lists([self.row(int(query)) for query in queries])


def positions_from_pairs(queries: Sequence[int] | NDArray[np.int64], gallery: object, num_queries: int) -> Positions:
    """Return one row per query from parallel (query, gallery position) columns in any order; repeats count once."""
    pairs = np.unique(np.stack([np.asarray(queries, np.int64), np.asarray(gallery, np.int64)], axis=1), axis=0)
    indptr = np.zeros(num_queries + 1, np.int64)
    np.cumsum(np.bincount(pairs[:, 0], minlength=num_queries), out=indptr[1:])
    return Positions(indptr, np.ascontiguousarray(pairs[:, 1]))


def positions_from_lists(rows: Iterable[Sequence[int] | NDArray[np.int64]]) -> Positions:
    """Return one row per query from a collection of gallery positions for each; repeats count once."""
    unique = [np.unique(np.asarray(row, np.int64)) for row in rows]
    indptr = np.zeros(len(unique) + 1, np.int64)
    np.cumsum([len(row) for row in unique], out=indptr[1:])
    return Positions(indptr, np.concatenate([np.zeros(0, np.int64), *unique]))
