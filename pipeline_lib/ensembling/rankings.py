"""The table of the top products of each query."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts.schemas import RANKINGS_SCHEMA

Matrix = NDArray[np.float32]


def rankings_table(
    split: str,
    fold: int | None,
    query_ids: Sequence[str],
    product_ids: Sequence[str],
    top: tuple[NDArray[np.int64], Matrix],
) -> pl.DataFrame:
    """Return RANKINGS_SCHEMA rows for `top`, the result of `metrics.top_k.top_k`; ranks start at 1."""
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
