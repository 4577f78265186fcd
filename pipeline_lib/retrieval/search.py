"""Opens an index only for the model and preprocessing that built it, and searches it.

If the index, the model and the list of ids do not belong together, search results are unrelated to the query. So they
are compared before the first query.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import polars as pl

from pipeline_lib.artifacts.io import read_json
from pipeline_lib.retrieval.faiss_index import IDS, INDEX, MANIFEST, Fingerprints, Matrix


class Hit(NamedTuple):
    """A product of the result, and its cosine to the query."""

    product_id: str
    score: float


@dataclass(frozen=True)
class ProductIndex:
    """An open index; row i of it is `product_ids[i]`."""

    manifest: dict[str, Any]
    product_ids: Sequence[str]
    index: Any

    def search(self, queries: Matrix, k: int) -> list[list[Hit]]:
        """Return the top k products of each query embedding (queries, dim), best first; all products if k is larger.

        An approximate index may return fewer. Raises ValueError for another width, and for k below 1.
        """
        if queries.ndim != 2 or queries.shape[1] != self.manifest["dim"]:
            raise ValueError(f"queries {queries.shape}: the index has vectors of width {self.manifest['dim']}")
        if k < 1:
            raise ValueError(f"k = {k}: must be at least 1")
        scores_and_rows = self.index.search(np.ascontiguousarray(queries, np.float32), min(k, len(self.product_ids)))
        return [
            # An approximate index returns the row -1 where it has no result.
            [Hit(self.product_ids[row], float(score)) for score, row in zip(*pair, strict=True) if row >= 0]
            for pair in zip(*scores_and_rows, strict=True)
        ]


def open_index(folder: Path, source: Fingerprints) -> ProductIndex:
    """Open an index for queries with the given fingerprints.

    Raises ValueError if the index is missing or truncated, or if it was built with other fingerprints.
    """
    if not (folder / MANIFEST).is_file():
        raise ValueError(
            f"{folder}: no index here (its {MANIFEST} is missing); add its kind to plan.index, `dvc repro`"
        )
    manifest = read_json(folder / MANIFEST)
    for name, expected in (("model", source.model), ("preprocessing", source.preprocessing)):
        if manifest[name] != expected:
            raise ValueError(
                f"{folder}: built with {name} {manifest[name]}, but the queries use {expected}; results would be "
                "unrelated to the queries: run `dvc repro`"
            )
    size = (folder / INDEX).stat().st_size if (folder / INDEX).is_file() else 0
    if size != manifest["bytes"]:
        raise ValueError(f"{folder / INDEX}: {size} bytes of {manifest['bytes']}; run `dvc repro`")
    # Memory-mapped: a search reads only the lists it probes, and processes on one machine share the pages.
    index = faiss.read_index(str(folder / INDEX), faiss.IO_FLAG_MMAP_IFC)
    product_ids = pl.read_parquet(folder / IDS)["product_id"].to_list()
    if not len(product_ids) == index.ntotal == manifest["count"]:
        raise ValueError(
            f"{folder}: {len(product_ids)} ids, {index.ntotal} vectors, {manifest['count']} in the manifest; "
            "they are from different runs: run `dvc repro`"
        )
    return ProductIndex(manifest, product_ids, index)


def search(folder: Path, queries: Matrix, k: int, model: str, preprocessing: str) -> list[list[Hit]]:
    """Open the index of `folder` and search it once; see `open_index` and `ProductIndex.search`."""
    return open_index(folder, Fingerprints(model, preprocessing)).search(queries, k)
