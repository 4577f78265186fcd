"""The top products of each query, computed block by block so that memory does not grow with the number of queries.

Products with equal scores are in gallery order, so the same embeddings always give the same file.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts.schemas import RANKINGS_SCHEMA

Matrix = NDArray[np.float32]

BLOCK_BYTES = 32 << 20
MAX_CHUNK = 512


def top_positions(
    queries: Matrix, gallery: Matrix, depth: int, chunk: int | None = None
) -> tuple[NDArray[np.int64], Matrix]:
    """Return the gallery positions and scores of each query's top `depth` products, best first.

    (queries, dim) x (gallery, dim) -> two arrays (queries, min(depth, gallery)).
    """
    depth = min(depth, len(gallery))
    positions = np.empty((len(queries), depth), np.int64)
    scores = np.empty((len(queries), depth), np.float32)
    chunk = chunk or max(1, min(MAX_CHUNK, BLOCK_BYTES // (4 * max(1, len(gallery)))))
    for start in range(0, len(queries), chunk):
        block = queries[start : start + chunk] @ gallery.T
        for row, query in zip(block, range(start, start + len(block)), strict=True):
            last = np.partition(row, len(row) - depth)[len(row) - depth] if depth else np.float32(0)
            candidates = np.flatnonzero(row >= last)
            best = candidates[np.argsort(-row[candidates], kind="stable")[:depth]]
            positions[query], scores[query] = best, row[best]
    return positions, scores


def rankings_table(
    split: str,
    fold: int | None,
    query_ids: Sequence[str],
    product_ids: Sequence[str],
    top: tuple[NDArray[np.int64], Matrix],
) -> pl.DataFrame:
    """Return RANKINGS_SCHEMA rows for `top`, the result of `top_positions`; ranks start at 1."""
    positions, scores = top
    depth = positions.shape[1]
    return pl.DataFrame(
        {
            "query_id": np.repeat(np.array(query_ids, dtype=object), depth),
            "split": [split] * positions.size,
            "fold": [fold] * positions.size,
            "rank": np.tile(np.arange(1, depth + 1), len(positions)),
            "product_id": np.array(product_ids, dtype=object)[positions.ravel()],
            "score": scores.ravel(),
        },
        schema=RANKINGS_SCHEMA,
    )
