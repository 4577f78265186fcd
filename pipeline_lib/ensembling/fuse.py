"""Fuses the embeddings of one gallery's members, and writes them for the evaluation and the report."""

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from pipeline_lib.artifacts.schemas import RANKINGS_SCHEMA
from pipeline_lib.ensembling.embeddings import Matrix, fuse_folds, fuse_scales, fused_identity
from pipeline_lib.ensembling.galleries import GalleryMembers
from pipeline_lib.ensembling.members import Member
from pipeline_lib.ensembling.rankings import rankings_table
from pipeline_lib.metrics.top_k import id_places, top_k
from pipeline_lib.stores.store import FeatureStore, write_store


def fuse_retrieval(gallery: GalleryMembers, members: Sequence[Member], out: Path, depth: int) -> pl.DataFrame:
    """Write the gallery's fused `products` and `queries` stores under `out`; return the top `depth` of each query.

    `members` are the eligible members of this gallery. If products or queries have no embeddings, nothing is written
    and the table (RANKINGS_SCHEMA) is empty.
    """
    product_stores = _by_fold(members, lambda member: member.products)
    query_stores = _by_fold(members, lambda member: member.queries)
    if not product_stores or not query_stores:
        return pl.DataFrame(schema=RANKINGS_SCHEMA)
    product_ids = gallery.products["product_id"].to_list()
    products = _fused(product_stores, product_ids)
    queries = _fused(query_stores, gallery.query_ids)
    _write(out / "products", product_stores, product_ids, products)
    _write(out / "queries", query_stores, gallery.query_ids, queries)
    top = top_k(queries, products, depth, id_places(product_ids))
    return rankings_table(gallery.split, gallery.fold, gallery.query_ids, product_ids, top)


def _fused(stores: dict[int, list[FeatureStore]], ids: Sequence[str]) -> Matrix:
    return fuse_folds([fuse_scales(scales, ids) for scales in stores.values()])


def _by_fold(members: Sequence[Member], part: Callable[[Member], FeatureStore | None]) -> dict[int, list[FeatureStore]]:
    stores: dict[int, list[FeatureStore]] = {}
    for member in members:
        store = part(member)
        if store is not None:
            stores.setdefault(member.fold, []).append(store)
    return stores


def _write(out: Path, stores: dict[int, list[FeatureStore]], ids: Sequence[str], fused: Matrix) -> None:
    encoder, preprocessing = fused_identity([store for scales in stores.values() for store in scales])
    write_store(out, ids, fused, (encoder, preprocessing), dtype="float32")
