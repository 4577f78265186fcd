"""Ranks of evaluation and validation in both directions, against the form before one product served both.

    OMP_NUM_THREADS=2 python bench/evaluation.py [--quick]

The size is that of MUGE's valid split: 5,008 queries against 29,806 products of 512 dimensions, six right answers each.
The peer is `older_ranks`: a matrix product for each direction, whose rows are compared one after another; all rows have
the same. Embeddings are like those of a trained model, whose coordinates have falling sizes: a product is near its
queries. An untrained model has random ones, and many scores near its thresholds; a collapsed model has equal ones, all
of whose scores are computed in float64. CPU time counts the threads that wait in loops, too.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch  # noqa: F401  (where it is loaded, as in training, ranks are counted in bf16)
from results import Ratio, interleaved, peak_bytes, report, reset_peak

from pipeline_lib.metrics.recall import both_ways_ranks
from pipeline_lib.metrics.relevance import Positions, positions_from_lists
from pipeline_lib.metrics.tied_ranks import TiedRanks

NUM_QUERIES, NUM_PRODUCTS, DIM, POSITIVES = 5_008, 29_806, 512, 6
BLOCK_BYTES, MAX_CHUNK = 32 << 20, 512


def unit_rows(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def trained(rng: np.random.Generator, positives: Positions, num_products: int) -> tuple[np.ndarray, np.ndarray]:
    """Return queries and products; a product is the sum of its queries with noise of 1.5 times the size of one."""
    sizes = np.arange(1, DIM + 1, dtype=np.float32) ** -0.7
    queries = rng.standard_normal((len(positives), DIM), dtype=np.float32)
    products = 1.5 * rng.standard_normal((num_products, DIM), dtype=np.float32)
    np.add.at(products, positives.indices, queries[positives.rows()])
    return unit_rows(queries * sizes), unit_rows(products * sizes)


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
    positives = positions_from_lists(rng.choice(num_products, POSITIVES, replace=False) for _ in range(num_queries))
    of_gallery = positives.transposed(num_products)
    queries, gallery = trained(rng, positives, num_products)
    untrained = [unit_rows(rng.standard_normal(side.shape, dtype=np.float32)) for side in (queries, gallery)]
    collapsed = [queries, np.repeat(gallery[:1], num_products, axis=0)]
    seconds: dict[str, list[float]] = {"ours": [], "older": []}  # of all processors

    def timed(work: Callable[[], object], processor: list[float] | None = None) -> float:
        """Return the nanoseconds that passed for a pair in one direction."""
        start, before = time.perf_counter(), time.process_time()
        work()
        passed, used = time.perf_counter() - start, time.process_time() - before
        if processor is not None:
            processor.append(used / (2 * num_queries * num_products) * 1e9)
        return passed / (2 * num_queries * num_products) * 1e9

    def ours() -> tuple[TiedRanks, TiedRanks]:
        return both_ways_ranks(queries, gallery, positives)

    def peer() -> None:
        older_ranks(queries, gallery, positives)
        older_ranks(gallery, queries, of_gallery)

    reset_peak()
    before = peak_bytes()
    ranks = ours()[0]
    megabytes = (peak_bytes() - before) / 1e6
    peer()  # BLAS starts its threads
    part = positives.indptr[num_queries // 20]
    few = Positions(positives.indptr[: num_queries // 20 + 1], positives.indices[:part])
    assert ranks.expected()[: len(few)].tolist() == slow_ranks(queries[: len(few)], gallery, few)
    own, random, equal, older = interleaved(
        repetitions,
        lambda: timed(ours, seconds["ours"]),
        lambda: timed(lambda: both_ways_ranks(*untrained, positives)),
        lambda: timed(lambda: both_ways_ranks(*collapsed, positives)),
        lambda: timed(peer, seconds["older"]),
    )
    copies = 2 * (queries.size + gallery.size) / 1e6
    about = (
        f"{num_queries:,} queries, {num_products:,} products, {DIM} dimensions, both directions; R@1 "
        f"{100 * ranks.hits(1).mean():.0f} %; peak memory beside the embeddings {megabytes:.0f} MB, with "
        f"{copies:.0f} MB of copies in bf16 on a processor with bf16. A pair counts once in each direction."
    )
    ratios = [
        Ratio("ranks of both directions, against a product for each", "ns a pair", own, older, "-", True),
        Ratio("the same in CPU time", "ns a pair", seconds["ours"], seconds["older"], "-", True),
        Ratio("an untrained model", "ns a pair", random, older, "-", True),
        Ratio("a collapsed model", "ns a pair", equal, older, "-", True),
    ]
    report("Ranks", about, ratios, options.quick)


if __name__ == "__main__":
    main()
