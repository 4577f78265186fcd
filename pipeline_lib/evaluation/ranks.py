"""Ranks all galleries that the ensemble wrote: one for each held-out fold, one for test."""

import polars as pl

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.schemas import RANKS_SCHEMA
from pipeline_lib.evaluation.protocols import Protocol
from pipeline_lib.metrics.gallery_ranks import Gallery
from pipeline_lib.stores.store import HEADER, open_store


def rank_all(folds: list[int], protocol: Protocol, relevance: pl.DataFrame, groups: dict[str, str]) -> pl.DataFrame:
    """Return RANKS_SCHEMA rows of the galleries of the listed folds and of test; `groups` maps products to groups."""
    frames = [pl.DataFrame(schema=RANKS_SCHEMA)]
    for split, fold, name in [*(("oof", fold, f"oof-{fold}") for fold in folds), ("test", None, "test")]:
        folder = paths.ENSEMBLE / name
        if (folder / "queries" / HEADER).is_file():
            products, queries = open_store(folder / "products"), open_store(folder / "queries")
            sides = (queries.ids, queries.rows(queries.ids), products.ids, products.rows(products.ids))
            frames.append(protocol.rank(Gallery(split, fold, *sides, [groups[key] for key in products.ids]), relevance))
    return pl.concat(frames)
