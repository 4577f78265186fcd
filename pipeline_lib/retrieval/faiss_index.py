"""Builds FAISS indexes over product embeddings, with a manifest that names the model and the preprocessing.

All kinds search by the inner product of unit vectors, so scores are cosines. Building uses one thread: k-means and HNSW
insertion depend on the order in which threads finish, and the same embeddings must give the same bytes.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts.io import write_json, write_table, writing
from pipeline_lib.params.index import IndexParams

INDEX, IDS, MANIFEST = "index.faiss", "ids.parquet", "manifest.json"
METRIC = "inner_product"
# FAISS needs at least 39 vectors per list to train its centroid (ClusteringParameters.min_points_per_centroid).
POINTS_PER_LIST = 39
APART = 1e-3

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Fingerprints:
    """The fingerprints of the model and of the image preprocessing that computed the embeddings."""

    model: str
    preprocessing: str


def _flat(products: Matrix, params: IndexParams) -> tuple[Any, dict[str, int]]:
    return faiss.IndexFlatIP(products.shape[1]), {}


def _ivf(products: Matrix, params: IndexParams) -> tuple[Any, dict[str, int]]:
    dim, lists = products.shape[1], _lists(products, params)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
    return index, _probe(index, lists, params)


def _ivf_pq(products: Matrix, params: IndexParams) -> tuple[Any, dict[str, int]]:
    """Product quantisation (Jegou et al., 2011) of the residuals to the list centroids.

    The number of codes per vector is `pq_bytes`, or the next smaller divisor of the width. A code has 8 bits, fewer if
    there are too few products to train 256 centroids.
    """
    dim, lists = products.shape[1], _lists(products, params)
    codes = next(number for number in range(min(params.pq_bytes, dim), 0, -1) if dim % number == 0)
    bits = min(8, max(1, (len(products) // POINTS_PER_LIST).bit_length() - 1))
    if len(products) < 2**bits:
        raise ValueError("plan.index: ivf_pq needs at least 2 products to train, but there is one; use flat")
    index = faiss.IndexIVFPQ(faiss.IndexFlatIP(dim), dim, lists, codes, bits, faiss.METRIC_INNER_PRODUCT)
    index.pq.cp.min_points_per_centroid = 1
    return index, _probe(index, lists, params) | {"codes": codes, "codes_asked": params.pq_bytes, "bits": bits}


def _lists(products: Matrix, params: IndexParams) -> int:
    return min(params.lists, max(1, len(products) // POINTS_PER_LIST))


def _probe(index: Any, lists: int, params: IndexParams) -> dict[str, int]:
    index.nprobe = min(params.probes, lists)
    index.cp.min_points_per_centroid = 1  # fewer than 39 products get one list, without a warning
    return {"lists": lists, "lists_asked": params.lists, "probes": index.nprobe}


def _hnsw(products: Matrix, params: IndexParams) -> tuple[Any, dict[str, int]]:
    index = faiss.IndexHNSWFlat(products.shape[1], params.links, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = params.build_beam
    index.hnsw.efSearch = params.search_beam
    return index, {"links": params.links, "build_beam": params.build_beam, "search_beam": params.search_beam}


# Contract: (products (count, dim), params) -> an empty index and its actual settings, for the manifest.
INDEX_KINDS: dict[str, Callable[[Matrix, IndexParams], tuple[Any, dict[str, int]]]] = {
    "flat": _flat,
    "ivf": _ivf,
    "ivf_pq": _ivf_pq,
    "hnsw": _hnsw,
}


def build_index(
    folder: Path, kind: str, product_ids: Sequence[str], products: Matrix, source: Fingerprints, params: IndexParams
) -> dict[str, Any]:
    """Write the index, ids and manifest of the products (count, dim) into `folder`; return the manifest.

    An `ivf` or `ivf_pq` index of a small catalogue has fewer lists than requested, as many as it can train. The
    manifest has both numbers. Raises ValueError for an empty catalogue and for unequal numbers of ids and products.
    """
    if not len(products) or len(product_ids) != len(products):
        raise ValueError(
            f"{folder}: {len(product_ids)} ids and {len(products)} embeddings; an index needs one or more embeddings, "
            "with one id each"
        )
    products = np.ascontiguousarray(products, np.float32)
    with _one_thread():
        index, settings = INDEX_KINDS[kind](products, params)
        if not index.is_trained:
            index.train(products)
        _add(index, products)
    folder.mkdir(parents=True, exist_ok=True)
    with writing(folder / INDEX):
        faiss.write_index(index, str(folder / INDEX))
    ids = pl.DataFrame({"product_id": list(product_ids)}, schema={"product_id": pl.String})
    write_table(ids, folder / IDS)
    manifest = {
        "kind": kind,
        "dim": products.shape[1],
        "count": len(products),
        "model": source.model,
        "preprocessing": source.preprocessing,
        "metric": METRIC,
        "max_norm": float(np.linalg.norm(products, axis=1).max()),
        "bytes": (folder / INDEX).stat().st_size,
        "settings": settings,
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


def _add(index: Any, products: Matrix) -> None:
    """Add the products (count, dim); links between them are made as if no two were equal.

    Nothing is closer to a vector than its copies, so FAISS links copies to copies only, and a search that enters them
    does not get out: it misses other products (findings/faiss_hnsw_equal_vectors_hide_others.sh).
    """
    if not isinstance(index, faiss.IndexHNSWFlat):
        index.add(products)
        return
    index.add(_apart(products))
    stored: Any = faiss.downcast_index(index.storage)
    faiss.copy_array_to_vector(products.view(np.uint8).ravel(), stored.codes)


def _apart(products: Matrix) -> Matrix:
    """Return the products with noise of APART of their length on each that equals an earlier one."""
    seen: set[bytes] = set()
    copies = []
    for row, vector in enumerate(products):
        key = hashlib.blake2b(vector.tobytes(), digest_size=16).digest()
        if key in seen:
            copies.append(row)
        seen.add(key)
    if not copies:
        return products
    copied = products[copies]
    noise = np.random.default_rng(0).standard_normal(copied.shape, dtype=np.float32)
    length = np.linalg.norm(copied, axis=1, keepdims=True)
    changed = copied + APART * length * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    moved = products.copy()
    # Of their own length again: a longer vector is the nearest of all by the inner product.
    moved[copies] = (
        changed * length / np.maximum(np.linalg.norm(changed, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    )
    return moved


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
