"""Queries per second of exact search: an open `flat` index, and the top k of the stage `ensemble`.

The peer of the index is numpy's argsort of all scores. That of the top k, which orders equal scores by product id, is
`faiss.knn`, whose order of them depends on k.

    python bench/search.py [--quick]

The size is that of MUGE's valid split: 29,806 products of 512 dimensions, top 10, in blocks of 256 queries.
"""

import argparse
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np
from results import Ratio, interleaved, report

from pipeline_lib.metrics.top_k import top_k
from pipeline_lib.params.index import IndexParams
from pipeline_lib.retrieval.faiss_index import Fingerprints, build_index
from pipeline_lib.retrieval.search import open_index

NUM_PRODUCTS, DIM, K, BLOCK, DEPTH = 29_806, 512, 10, 256, 50


def unit_rows(rng: np.random.Generator, count: int) -> np.ndarray:
    rows = rng.standard_normal((count, DIM), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    num_queries, repetitions = (64, 1) if options.quick else (1_024, 5)
    rng = np.random.default_rng(0)
    products, queries = unit_rows(rng, NUM_PRODUCTS), unit_rows(rng, num_queries)
    ids = [str(row) for row in range(NUM_PRODUCTS)]
    with tempfile.TemporaryDirectory() as folder:
        source = Fingerprints("bench", "bench")
        settings = IndexParams(photo_weight=0.5, lists=1, probes=1, links=4, build_beam=8, search_beam=8, pq_bytes=8)
        build_index(Path(folder) / "index", "flat", ids, products, source, settings)
        index = open_index(Path(folder) / "index", source)
        blocks = [queries[start : start + BLOCK] for start in range(0, num_queries, BLOCK)]
        results: dict[str, list] = {}

        def ours() -> float:
            start = time.perf_counter()
            results["ours"] = [[hit.product_id for hit in hits] for block in blocks for hits in index.search(block, K)]
            return num_queries / (time.perf_counter() - start)

        def peer() -> float:
            start = time.perf_counter()
            orders = [np.argsort(-(block @ products.T), axis=1)[:, :K] for block in blocks]
            results["peer"] = [[ids[row] for row in order] for order in np.concatenate(orders)]
            return num_queries / (time.perf_counter() - start)

        ours(), peer()  # both libraries start their threads
        speeds = interleaved(repetitions, ours, peer)

        def ranked() -> float:
            start = time.perf_counter()
            results["ranked"] = top_k(queries, products, DEPTH, np.arange(NUM_PRODUCTS))[0]
            return num_queries / (time.perf_counter() - start)

        def faiss_ranked() -> float:
            start = time.perf_counter()
            results["faiss"] = faiss.knn(queries, products, DEPTH, metric=faiss.METRIC_INNER_PRODUCT)[1]
            return num_queries / (time.perf_counter() - start)

        ranked(), faiss_ranked()
        rankings = interleaved(repetitions, ranked, faiss_ranked)
    assert np.mean(results["ranked"] == results["faiss"]) > 0.99
    same = np.mean([one == other for one, other in zip(results["ours"], results["peer"], strict=True)])
    assert same > 0.99, same  # products whose scores differ in the last bit may swap ranks
    about = f"{num_queries:,} queries, {NUM_PRODUCTS:,} products, {DIM} dimensions, best {K}; {same:.1%} equal lists."
    ratios = [
        Ratio("exact search, against argsort", "queries/s", *speeds, "-"),
        Ratio(f"best {DEPTH}, equal scores by id, against faiss.knn", "queries/s", *rankings, "-"),
    ]
    report("Exact search", about, ratios, options.quick)


if __name__ == "__main__":
    main()
