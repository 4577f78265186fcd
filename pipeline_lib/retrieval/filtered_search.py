"""Top-k search among the products that pass a filter, with a lowest score and one product of each group of duplicates.

A list that is filtered after the search of the top k has fewer than k products. So a small selection is scored product
by product, and for a large one the search returns more until k products pass. Results equal those of scoring all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.metrics.score_counts import pair_scores
from pipeline_lib.retrieval.faiss_index import Matrix
from pipeline_lib.retrieval.search import MAX_FETCHED, Hit, ProductIndex

# A selection of at most so many products is scored product by product.
FEW = 4_096
GROWTH = 4  # times as many are fetched if too few passed
EXTRA = 2  # times k are fetched first if duplicates are hidden

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Selection:
    """What may be in a result: `allowed` rows of the index (products,), None for all; and the lowest score, if any.

    Of products with equal numbers in `groups` (products,) only the best is in a result; None shows all of them.
    """

    allowed: NDArray[np.bool_] | None = None
    min_score: float | None = None
    groups: Integers | None = None

    def passing(self, hits: Sequence[Hit], row_of: Mapping[str, int], k: int) -> list[Hit]:
        """Return the first k of `hits`, best first, that pass."""
        found: list[Hit] = []
        groups_found: set[int] = set()
        for hit in hits:
            if self.min_score is not None and hit.score < self.min_score:
                break
            row = row_of[hit.product_id]
            if self.allowed is not None and not self.allowed[row]:
                continue
            if self.groups is not None:
                group = int(self.groups[row])
                if group in groups_found:
                    continue
                groups_found.add(group)
            found.append(hit)
            if len(found) == k:
                break
        return found


ALL = Selection()


def search_selected(
    index: ProductIndex, queries: Matrix, k: int, selection: Selection, row_of: Mapping[str, int]
) -> list[list[Hit]]:
    """Return the top k products of each query (queries, dim) that the selection lets pass, best first.

    `row_of` is the row of each product in the index. Fewer than k are returned only if no more pass, or if an
    approximate index finds no more and all products are allowed. Raises ValueError as `ProductIndex.search`.
    """
    if selection is ALL:
        return index.search(queries, k)
    total = len(index.product_ids)
    if selection.allowed is not None and np.count_nonzero(selection.allowed) <= FEW:
        return [_all_scored(index, query, k, selection, row_of) for query in queries]
    results: list[list[Hit]] = [[] for _ in queries]
    pending = np.arange(len(queries))
    fetch = min(total, EXTRA * k if selection.groups is not None else k)
    while len(pending):
        unfinished = []
        for number, hits in zip(pending, index.search(queries[pending], fetch), strict=True):
            results[number] = selection.passing(hits, row_of, k)
            below = selection.min_score is not None and bool(hits) and hits[-1].score < selection.min_score
            if len(results[number]) == k or len(hits) == total or below:
                continue
            if len(hits) == fetch < total:
                unfinished.append(number)
            elif selection.allowed is not None:  # an approximate index has no more to return
                results[number] = _all_scored(index, queries[number], k, selection, row_of)
        pending, fetch = np.array(unfinished, np.int64), min(total, GROWTH * fetch)
    return results


def _all_scored(
    index: ProductIndex, query: Matrix, k: int, selection: Selection, row_of: Mapping[str, int]
) -> list[Hit]:
    """Return the top k of all allowed products, by the scores of `ProductIndex.search`."""
    rows = np.arange(len(index.product_ids)) if selection.allowed is None else np.flatnonzero(selection.allowed)
    scored = Scored(index.product_ids, rows, row_scores(index, query, rows))
    return best_hits(scored, k, selection, row_of)


def row_scores(index: ProductIndex, query: Matrix, rows: Integers) -> Matrix:
    """Return the scores (rows,) of a query (dim,) with rows of the index, in float64 before they are rounded."""
    scores = np.empty(len(rows), np.float32)
    query = np.ascontiguousarray(query[None], np.float32)
    for start in range(0, len(rows), MAX_FETCHED):
        part = rows[start : start + MAX_FETCHED]
        vectors = index.index.reconstruct_batch(part)
        scores[start : start + len(part)] = pair_scores(
            query, vectors, np.zeros(len(part), np.int64), np.arange(len(part))
        )
    return scores


class Scored(NamedTuple):
    """All ids, the rows (rows,) that were scored, and their scores (rows,)."""

    product_ids: Sequence[str]
    rows: Integers
    scores: Matrix


def best_hits(scored: Scored, k: int, selection: Selection, row_of: Mapping[str, int]) -> list[Hit]:
    """Return the top k of the scored rows that pass, best first; equal scores are in the order of their ids."""
    rows, scores, first = scored.rows, scored.scores, GROWTH * k
    while True:
        lowest = np.partition(scores, -first)[-first] if first < len(scores) else -np.inf
        some = np.flatnonzero(scores >= lowest)
        hits = [Hit(scored.product_ids[rows[one]], float(scores[one])) for one in some]
        found = selection.passing(sorted(hits, key=lambda hit: (-hit.score, hit.product_id)), row_of, k)
        if len(found) == k or len(some) == len(scores):
            return found
        first *= GROWTH
