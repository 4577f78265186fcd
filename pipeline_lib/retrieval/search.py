"""Opens an index only for the model and preprocessing that made it, and searches it.

Unrelated search results come, in every system of this kind, from an index, a model and a list of ids that do not
belong together and are not asked. Here they are asked before the first query.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import polars as pl

from pipeline_lib.artifacts.io import read_json
from pipeline_lib.retrieval.faiss_index import IDS, INDEX, MANIFEST, Maker, Matrix


class Hit(NamedTuple):
    """A product found, and its cosine to the query."""

    product_id: str
    score: float


@dataclass(frozen=True)
class ProductIndex:
    """An open index; row i of it is `product_ids[i]`."""

    manifest: dict[str, Any]
    product_ids: Sequence[str]
    index: Any

    def search(self, queries: Matrix, k: int) -> list[list[Hit]]:
        """Return the best k products, or as many as there are, of each query embedding (queries, dim), best first.

        An approximate index may find fewer. Raises ValueError for another width or k below 1.
        """
        if queries.ndim != 2 or queries.shape[1] != self.manifest["dim"]:
            raise ValueError(f"queries {queries.shape}: the index holds vectors of {self.manifest['dim']}")
        if k < 1:
            raise ValueError(f"k = {k}: ask for at least one product")
        found = self.index.search(np.ascontiguousarray(queries, np.float32), min(k, len(self.product_ids)))
        return [
            # Position -1 fills the places for which an approximate index found nothing.
            [Hit(self.product_ids[row], float(score)) for score, row in zip(*pair, strict=True) if row >= 0]
            for pair in zip(*found, strict=True)
        ]


def open_index(folder: Path, maker: Maker) -> ProductIndex:
    """Open an index for queries of `maker`; ValueError if it is missing, cut short, or made by another one."""
    if not (folder / MANIFEST).is_file():
        raise ValueError(
            f"{folder}: no index here (its {MANIFEST} is missing); add its kind to plan.index, `dvc repro`"
        )
    manifest = read_json(folder / MANIFEST)
    for what, wanted in (("model", maker.model), ("preprocessing", maker.preprocessing)):
        if manifest[what] != wanted:
            raise ValueError(
                f"{folder}: made by {what} {manifest[what]}, but the queries come from {wanted}; its results would be "
                "unrelated to them: run `dvc repro`"
            )
    size = (folder / INDEX).stat().st_size if (folder / INDEX).is_file() else 0
    if size != manifest["bytes"]:
        raise ValueError(f"{folder / INDEX}: {size} bytes of {manifest['bytes']}; run `dvc repro`")
    # Mapped, not loaded: a search reads the lists it probes, and processes of one machine share the pages.
    index = faiss.read_index(str(folder / INDEX), faiss.IO_FLAG_MMAP_IFC)
    product_ids = pl.read_parquet(folder / IDS)["product_id"].to_list()
    if not len(product_ids) == index.ntotal == manifest["count"]:
        raise ValueError(
            f"{folder}: {len(product_ids)} ids, {index.ntotal} vectors, {manifest['count']} in the manifest; "
            "they do not belong together: run `dvc repro`"
        )
    return ProductIndex(manifest, product_ids, index)


def search(folder: Path, queries: Matrix, k: int, model: str, preprocessing: str) -> list[list[Hit]]:
    """Open the index of `folder` and search it once; see `open_index` and `ProductIndex.search`."""
    return open_index(folder, Maker(model, preprocessing)).search(queries, k)
