"""Ranks of evaluation and validation in both directions, against the form before one product served both.

    OMP_NUM_THREADS=2 python bench/evaluation.py [--quick]

The size is that of MUGE's valid split: 5,008 queries against 29,806 products of 512 dimensions, six right answers each.
The peer is `older_ranks`: a matrix product for each direction, whose rows are compared one after another. The second
row is a collapsed model, all of whose scores are computed in float64. Memory is the peak of what numpy allocates.
"""

import argparse
import time
import tracemalloc

import numpy as np
from results import Ratio, interleaved, report

from pipeline_lib.metrics.recall import both_ways_ranks
from pipeline_lib.metrics.relevance import Positions, positions_from_lists
from pipeline_lib.metrics.tied_ranks import TiedRanks

NUM_QUERIES, NUM_PRODUCTS, DIM, POSITIVES = 5_008, 29_806, 512, 6
BLOCK_BYTES, MAX_CHUNK = 32 << 20, 512


def unit_rows(rng: np.random.Generator, count: int) -> np.ndarray:
    rows = rng.standard_normal((count, DIM), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def older_ranks(queries: np.ndarray, gallery: np.ndarray, positives: Positions) -> np.ndarray:
    """Return the expected rank of each query that has a positive, as computed before: row by row of a float32 block."""
    asked = np.flatnonzero(positives.counts())
    chunk = max(1, min(MAX_CHUNK, BLOCK_BYTES // (4 * len(gallery))))
    ranks = np.empty(len(asked), np.float64)
    for start in range(0, len(asked), chunk):
        part = asked[start : start + chunk]
        for place, (query, row) in enumerate(zip(part, queries[part] @ gallery.T, strict=True), start=start):
            own = row[positives.row(query)]
            best = own.max()
            above, at_best = np.count_nonzero(row > best), np.count_nonzero(own == best)
            tied = np.count_nonzero(row >= best) - above - at_best
            ranks[place] = 1 + above + tied / (at_best + 1)
    return ranks


def slow_ranks(queries: np.ndarray, gallery: np.ndarray, positives: Positions) -> list[int]:
    """Return the ranks by a sort of float64 scores."""
    ranks = []
    for query, row in enumerate(queries.astype(np.float64) @ gallery.astype(np.float64).T):
        order = np.argsort(-row)
        ranks.append(int(np.flatnonzero(np.isin(order, positives.row(query)))[0]) + 1)
    return ranks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    num_queries, num_products, repetitions = (256, 2_000, 1) if options.quick else (NUM_QUERIES, NUM_PRODUCTS, 5)
    rng = np.random.default_rng(0)
    queries, gallery = unit_rows(rng, num_queries), unit_rows(rng, num_products)
    positives = positions_from_lists(rng.choice(num_products, POSITIVES, replace=False) for _ in range(num_queries))
    of_gallery = positives.transposed(num_products)
    scores = 2 * num_queries * num_products  # in both directions
    results: dict[str, tuple[TiedRanks, TiedRanks]] = {}

    def ours() -> float:
        start = time.perf_counter()
        results["ours"] = both_ways_ranks(queries, gallery, positives)
        return (time.perf_counter() - start) / scores * 1e9

    def peer() -> float:
        start = time.perf_counter()
        older_ranks(queries, gallery, positives)
        older_ranks(gallery, queries, of_gallery)
        return (time.perf_counter() - start) / scores * 1e9

    collapsed = np.repeat(gallery[:1], num_products, axis=0)

    def equal_scores() -> float:
        start = time.perf_counter()
        both_ways_ranks(queries, collapsed, positives)
        return (time.perf_counter() - start) / scores * 1e9

    ours(), peer()  # BLAS starts its threads
    drawn, equal, older = interleaved(repetitions, ours, equal_scores, peer)
    part = positives.indptr[num_queries // 20]
    few = Positions(positives.indptr[: num_queries // 20 + 1], positives.indices[:part])
    expected = slow_ranks(queries[: len(few)], gallery, few)
    assert results["ours"][0].expected()[: len(few)].tolist() == expected
    tracemalloc.start()
    ours()
    megabytes = tracemalloc.get_traced_memory()[1] / 1e6
    about = (
        f"{num_queries:,} queries, {num_products:,} products, {DIM} dimensions, both directions; peak of numpy's "
        f"memory beside the embeddings {megabytes:.0f} MB. A pair counts once in each direction."
    )
    what = "ranks of both directions, against a product for each"
    ratios = [
        Ratio(what, "ns a pair", drawn, older, "-", True),
        Ratio("a collapsed model", "ns a pair", equal, older, "-", True),
    ]
    report("Ranks", about, ratios, options.quick)


if __name__ == "__main__":
    main()
