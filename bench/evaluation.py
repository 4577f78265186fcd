"""Evaluation at the size of MUGE valid: 5,008 queries against 29,806 products of 512 dimensions.

    OMP_NUM_THREADS=2 python bench/evaluation.py

Prints the time of several runs, the peak memory above that of the bare interpreter (so numpy counts), and the ratio to
the usual method, a full argsort of each query's scores, on a tenth of the queries in the same process.
"""

import os
import resource
import statistics
import sys
import time

BARE = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

import numpy as np  # noqa: E402  (the memory of the interpreter is measured before the imports)

from pipeline_lib.metrics.recall import Matrix, best_positive_ranks  # noqa: E402
from pipeline_lib.metrics.relevance import Positions, positions_from_lists  # noqa: E402

NUM_QUERIES, NUM_PRODUCTS, DIM, POSITIVES, RUNS = 5_008, 29_806, 512, 6, 7


def unit_rows(rng: np.random.Generator, count: int) -> Matrix:
    rows = rng.standard_normal((count, DIM), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def argsort_ranks(queries: Matrix, gallery: Matrix, positives: Positions) -> np.ndarray:
    order = np.argsort(-(queries @ gallery.T), axis=1)
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(order.shape[1])[None, :], axis=1)
    return np.array([place[query, positives.row(query)].min() + 1 for query in range(len(queries))])


def main() -> None:
    rng = np.random.default_rng(0)
    queries, gallery = unit_rows(rng, NUM_QUERIES), unit_rows(rng, NUM_PRODUCTS)
    positives = positions_from_lists(rng.choice(NUM_PRODUCTS, POSITIVES, replace=False) for _ in range(NUM_QUERIES))
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        ranks = best_positive_ranks(queries, gallery, positives)
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    part = NUM_QUERIES // 10
    start = time.perf_counter()
    peer = argsort_ranks(queries[:part], gallery, positives)
    peer_seconds = time.perf_counter() - start
    assert np.array_equal(peer, ranks[:part])
    start = time.perf_counter()
    best_positive_ranks(queries[:part], gallery, positives.take(np.arange(part)))
    own_seconds = time.perf_counter() - start
    median = statistics.median(seconds)
    print(f"python {sys.version.split()[0]}, numpy {np.__version__}, {os.cpu_count()} cores, load {os.getloadavg()[0]}")
    print(f"ranks: min {min(seconds):.2f} s, median {median:.2f} s, max {max(seconds):.2f} s over {RUNS} runs")
    print(f"peak memory: {peak - BARE:.0f} MB above the bare interpreter ({BARE:.0f} MB)")
    ratio = peer_seconds / own_seconds
    print(f"argsort on {part} queries: {peer_seconds:.2f} s against {own_seconds:.2f} s: {ratio:.1f}x")


if __name__ == "__main__":
    main()
