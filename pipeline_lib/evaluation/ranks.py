"""Ranks all galleries that the ensemble wrote: one for each held-out fold, one for test."""

from collections.abc import Sequence

import polars as pl

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.schemas import RANKS_SCHEMA
from pipeline_lib.evaluation.protocols import Protocol
from pipeline_lib.execution.device import pick_device, read_runtime
from pipeline_lib.execution.meter import Meter
from pipeline_lib.metrics.gallery_ranks import Gallery
from pipeline_lib.stores.store import HEADER, FeatureStore, open_store

# Below, two CPU cores are done before torch is imported.
MIN_PAIRS_FOR_A_DEVICE = 200_000_000


def rank_all(
    folds: list[int],
    protocol: Protocol,
    relevance: pl.DataFrame,
    subsets: pl.DataFrame | None,
    groups: dict[str, str],
    meter: Meter,
) -> pl.DataFrame:
    """Return RANKS_SCHEMA rows of the galleries of the listed folds and of test; `groups` maps products to groups.

    `subsets` are those of `read_subsets`. A large gallery is ranked on runtime.device. The ranks do not depend on the
    device. `meter` announces the galleries and counts queries and products, both of which are ranked.
    """
    frames = [pl.DataFrame(schema=RANKS_SCHEMA)]
    sides = open_galleries(folds)
    sizes = [(len(queries.ids), len(products.ids)) for queries, products in sides.values()]
    devices = [device_for(*size) for size in sizes]
    if sides:
        num_queries, num_products = (sum(numbers) for numbers in zip(*sizes, strict=True))
        on = " and ".join(sorted(set(devices)))
        meter.announce(f"ranks {num_queries:,} queries and {num_products:,} products of {len(sides)} galleries on {on}")
    meter.begin("ranked rows", sum(map(sum, sizes)))
    for ((split, fold), (queries, products)), device in zip(sides.items(), devices, strict=True):
        matrices = (queries.ids, queries.rows(queries.ids), products.ids, products.rows(products.ids))
        gallery = Gallery(split, fold, *matrices, [groups[key] for key in products.ids], subsets)
        frames.append(protocol.rank(gallery, relevance, device))
        meter.add(len(queries.ids) + len(products.ids))
    return pl.concat(frames)


def open_galleries(folds: Sequence[int]) -> dict[tuple[str, int | None], tuple[FeatureStore, FeatureStore]]:
    """Return the stores of queries and of products by split and fold, as far as the ensemble wrote them."""
    sides: dict[tuple[str, int | None], tuple[FeatureStore, FeatureStore]] = {}
    for split, fold, name in [*(("oof", fold, f"oof-{fold}") for fold in folds), ("test", None, "test")]:
        folder = paths.ENSEMBLE / name
        if (folder / "queries" / HEADER).is_file():
            sides[split, fold] = open_store(folder / "queries"), open_store(folder / "products")
    return sides


def device_for(num_queries: int, num_products: int) -> str:
    """Return the device on which so many queries are ranked against so many products."""
    return pick_device(read_runtime().device) if num_queries * num_products >= MIN_PAIRS_FOR_A_DEVICE else "cpu"
