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

    def rows(self) -> NDArray[np.int64]:
        """Return the query of each position, (positions,)."""
        return np.repeat(np.arange(len(self)), self.counts())

    def transposed(self, gallery_size: int) -> "Positions":
        """Return for each gallery position the queries that have it."""
        return positions_from_pairs(self.indices, self.rows(), gallery_size)

    def without(self, other: "Positions") -> "Positions":
        """Return the positions that are not in the same row of `other`."""
        return self._chosen(~self._found_in(other))

    def within(self, other: "Positions") -> "Positions":
        """Return the positions that are also in the same row of `other`."""
        return self._chosen(self._found_in(other))

    def joined(self, other: "Positions") -> "Positions":
        """Return the positions of both."""
        queries = np.concatenate([self.rows(), other.rows()])
        return positions_from_pairs(queries, np.concatenate([self.indices, other.indices]), len(self))

    def _found_in(self, other: "Positions") -> NDArray[np.bool_]:
        size = 1 + max(self.indices.max(initial=0), other.indices.max(initial=0))
        return np.isin(self.rows() * size + self.indices, other.rows() * size + other.indices)

    def _chosen(self, chosen: NDArray[np.bool_]) -> "Positions":
        return positions_from_pairs(self.rows()[chosen], self.indices[chosen], len(self))


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
