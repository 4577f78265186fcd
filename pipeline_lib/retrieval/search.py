"""Opens an index only for the model and preprocessing that built it, and searches it.

If the index, the model and the list of ids do not belong together, search results are unrelated to the query. So they
are compared before the first query.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.artifacts.memory import more_memory
from pipeline_lib.artifacts.read import damaged, read_object, read_table, reading
from pipeline_lib.metrics.score_counts import FLOAT32_ERROR, norms, pair_scores
from pipeline_lib.retrieval.faiss_index import IDS, INDEX, MANIFEST, Fingerprints, Matrix

Integers = NDArray[np.int64]
# What a search reads of the manifest.
MANIFEST_KEYS: dict[str, type] = {
    "model": str,
    "preprocessing": str,
    "bytes": int,
    "count": int,
    "dim": int,
    "max_norm": float,
}
SPARE_BYTES = 1 << 29  # that opening an index may take beside its file
SPARE = 6  # products fetched beyond k, so that equal scores at the end of the list are seen
GROWTH = 8  # times as many are fetched if the list ends among equal scores
MAX_FETCHED = 1 << 16  # vectors that are scored again at a time
# FAISS's setting as the library has it; a larger one than COUNTS_PRODUCTS is one of queries x width.
BLAS_THRESHOLD, COUNTS_PRODUCTS = int(faiss.cvar.distance_compute_blas_threshold), 10_000
PRODUCTS_A_THREAD = 1_000


class Hit(NamedTuple):
    """A product of the result, its cosine to the query, and its row in the index."""

    product_id: str
    score: float
    row: int


def prefer_matrix_products() -> None:
    """Let FAISS multiply matrices from a few queries on; the setting is that of the process.

    Since 1.14.2 FAISS does so from queries x width = 128,000 on, whatever the number of threads, and scans the products
    query by query below: with 100,000 products of width 128 and one thread 57 ms of CPU in place of 17 for 20 queries,
    1,186 in place of 138 for 400 (findings/faiss_blas_threshold.sh). Before, the setting was a number of queries, 20.
    """
    if BLAS_THRESHOLD >= COUNTS_PRODUCTS:
        own = PRODUCTS_A_THREAD * faiss.omp_get_max_threads()
        faiss.cvar.distance_compute_blas_threshold = min(BLAS_THRESHOLD, own)


@dataclass(frozen=True)
class ProductIndex:
    """An open index; row i of it is `product_ids[i]`."""

    manifest: dict[str, Any]
    product_ids: Sequence[str]
    index: Any

    def search(self, queries: Matrix, k: int) -> list[list[Hit]]:
        """Return the top k products of each query embedding (queries, dim), best first; all products if k is larger.

        Products with equal scores are in the order of their ids, so the list of k is the beginning of any longer list.
        An approximate index may return fewer. Raises ValueError for another width, and for k below 1.
        """
        if queries.ndim != 2 or queries.shape[1] != self.manifest["dim"]:
            raise ValueError(f"queries {queries.shape}: the index has vectors of width {self.manifest['dim']}")
        if k < 1:
            raise ValueError(f"k = {k}: must be at least 1")
        prefer_matrix_products()
        queries = np.ascontiguousarray(queries, np.float32)
        margins = FLOAT32_ERROR * self.manifest["max_norm"] * norms(queries)
        results: list[list[Hit]] = [[] for _ in queries]
        pending, fetch = np.arange(len(queries)), min(k + SPARE, len(self.product_ids))
        while len(pending):
            open_ones = []
            for part in np.array_split(pending, -(-len(pending) * fetch // MAX_FETCHED)):
                scores, rows = self.index.search(queries[part], fetch)
                # FAISS orders equal scores by its kernel and by k, so they are computed again, from the stored vectors.
                for number, hits, last in zip(part, self._hits(queries[part], rows), scores[:, -1], strict=True):
                    results[number] = hits[:k]
                    cut = len(hits) == fetch < len(self.product_ids)
                    if cut and hits[k - 1].score <= last + margins[number]:
                        open_ones.append(number)
            pending, fetch = np.array(open_ones, np.int64), min(GROWTH * fetch, len(self.product_ids))
        return results

    def scores(self, queries: Matrix, query: Integers, rows: Integers) -> Matrix:
        """Return the inner products (pairs,) of queries[query] with these rows, in float64 before they are rounded."""
        scores = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), MAX_FETCHED):
            part = slice(start, start + MAX_FETCHED)
            vectors = self.index.reconstruct_batch(rows[part])
            scores[part] = pair_scores(queries, vectors, query[part], np.arange(len(vectors)))
        return scores

    def _hits(self, queries: Matrix, rows: Integers) -> Iterator[list[Hit]]:
        """Yield the products in `rows` (queries, fetched), best first."""
        found = rows >= 0  # an approximate index returns the row -1 where it has no result
        numbers, query = rows[found], np.nonzero(found)[0]
        scores = self.scores(queries, query, numbers)
        hits = [Hit(self.product_ids[row], float(score), int(row)) for row, score in zip(numbers, scores, strict=True)]
        end = np.cumsum(found.sum(axis=1))
        for start, stop in zip([0, *end[:-1]], end, strict=True):
            yield sorted(hits[start:stop], key=lambda hit: (-hit.score, hit.product_id))


def open_index(folder: Path, source: Fingerprints) -> ProductIndex:
    """Open an index for queries with the given fingerprints.

    Raises ValueError if the index is missing or truncated, or if it was built with other fingerprints.
    """
    if not (folder / MANIFEST).is_file():
        raise ValueError(
            f"{folder}: no index here (its {MANIFEST} is missing); add its kind to plan.index and its fold to "
            "plan.search, `dvc repro`"
        )
    manifest = read_object(folder / MANIFEST, **MANIFEST_KEYS)
    for name, expected in (("model", source.model), ("preprocessing", source.preprocessing)):
        if manifest[name] != expected:
            raise ValueError(
                f"{folder}: built with {name} {manifest[name]}, but the queries use {expected}; results would be "
                "unrelated to the queries: run `dvc repro`"
            )
    size = (folder / INDEX).stat().st_size if (folder / INDEX).is_file() else 0
    if size != manifest["bytes"]:
        raise damaged(folder / INDEX, f"truncated: {size} bytes of {manifest['bytes']}")
    # Memory-mapped: a search reads only the lists it probes, and processes on one machine share the pages. Not mapped
    # are centroids and places of rows: they are smaller than the file, and take 8 bytes a row.
    with reading(folder / INDEX), more_memory(SPARE_BYTES + 3 * size + 8 * manifest["count"]):
        index = faiss.read_index(str(folder / INDEX), faiss.IO_FLAG_MMAP_IFC)
        if index.ntotal == manifest["count"] and hasattr(index, "make_direct_map"):
            index.make_direct_map()  # from a row to its place in the lists, so that its vector can be read
    if index.d != manifest["dim"]:
        raise damaged(folder / INDEX, f"vectors of {index.d} values, {manifest['dim']} in the manifest")
    product_ids = read_table(folder / IDS, ["product_id"])["product_id"].to_list()
    if not len(product_ids) == index.ntotal == manifest["count"]:
        raise ValueError(
            f"{folder}: {len(product_ids)} ids, {index.ntotal} vectors, {manifest['count']} in the manifest; "
            "they are from different runs: run `dvc repro`"
        )
    return ProductIndex(manifest, product_ids, index)
