"""Ranks all galleries that the ensemble wrote: one for each held-out fold, one for test."""

import polars as pl

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.schemas import RANKS_SCHEMA
from pipeline_lib.evaluation.protocols import Protocol
from pipeline_lib.execution.device import pick_device, read_runtime
from pipeline_lib.metrics.gallery_ranks import Gallery
from pipeline_lib.stores.store import HEADER, open_store

# Below, two CPU cores are done before torch is imported.
MIN_PAIRS_FOR_A_DEVICE = 200_000_000


def rank_all(folds: list[int], protocol: Protocol, relevance: pl.DataFrame, groups: dict[str, str]) -> pl.DataFrame:
    """Return RANKS_SCHEMA rows of the galleries of the listed folds and of test; `groups` maps products to groups.

    A large gallery is ranked on runtime.device. The ranks do not depend on the device.
    """
    frames = [pl.DataFrame(schema=RANKS_SCHEMA)]
    for split, fold, name in [*(("oof", fold, f"oof-{fold}") for fold in folds), ("test", None, "test")]:
        folder = paths.ENSEMBLE / name
        if (folder / "queries" / HEADER).is_file():
            products, queries = open_store(folder / "products"), open_store(folder / "queries")
            sides = (queries.ids, queries.rows(queries.ids), products.ids, products.rows(products.ids))
            gallery = Gallery(split, fold, *sides, [groups[key] for key in products.ids])
            large = len(queries.ids) * len(products.ids) >= MIN_PAIRS_FOR_A_DEVICE
            device = pick_device(read_runtime().device) if large else "cpu"
            frames.append(protocol.rank(gallery, relevance, device))
    return pl.concat(frames)
