"""Top-k search among the products that pass a filter, with a lowest score and one product of each group of duplicates.

A list that is filtered after the search of the top k has fewer than k products. So a small selection is scored product
by product, and for a large one the search returns more until k products pass, or all are scored. By an exact index,
results equal those of scoring all; an approximate one may miss products, and without a filter return fewer than k.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.retrieval.faiss_index import Matrix
from pipeline_lib.retrieval.search import Hit, Integers, ProductIndex

# A selection of at most so many products is scored product by product.
FEW = 4_096
GROWTH = 4  # times as many are fetched if too few passed
EXTRA = 2  # times k are fetched first if duplicates are hidden
MOST = 16_384  # no search is repeated to fetch more; all products that are allowed are scored instead


@dataclass(frozen=True)
class Selection:
    """What may be in a result: `allowed` rows of the index (products,), None for all; and the lowest score, if any.

    Of products with equal numbers in `groups` (products,) only the best is in a result; None shows all of them.
    """

    allowed: NDArray[np.bool_] | None = None
    min_score: float | None = None
    groups: Integers | None = None

    def passing(self, hits: Sequence[Hit], k: int) -> list[Hit]:
        """Return the first k of `hits`, best first, that pass."""
        found: list[Hit] = []
        groups_found: set[int] = set()
        for hit in hits:
            if self.min_score is not None and hit.score < self.min_score:
                break
            if self.allowed is not None and not self.allowed[hit.row]:
                continue
            if self.groups is not None:
                group = int(self.groups[hit.row])
                if group in groups_found:
                    continue
                groups_found.add(group)
            found.append(hit)
            if len(found) == k:
                break
        return found


ALL = Selection()


def search_selected(index: ProductIndex, queries: Matrix, k: int, selection: Selection) -> list[list[Hit]]:
    """Return the top k products of each query (queries, dim) that the selection lets pass, best first.

    With a filter fewer than k are returned only if no more pass, or if an approximate index finds no more from the
    lowest score on; without one as by `ProductIndex.search`.
    Raises ValueError as `ProductIndex.search`.
    """
    if selection is ALL:
        return index.search(queries, k)
    total = len(index.product_ids)
    if selection.allowed is not None and np.count_nonzero(selection.allowed) <= FEW:
        return [_all_scored(index, query, k, selection) for query in queries]
    results: list[list[Hit]] = [[] for _ in queries]
    pending = np.arange(len(queries))
    fetch = min(total, EXTRA * k if selection.groups is not None else k)
    while len(pending):
        unfinished, more = [], min(total, GROWTH * fetch)
        for number, hits in zip(pending, index.search(queries[pending], fetch), strict=True):
            results[number] = selection.passing(hits, k)
            below = selection.min_score is not None and bool(hits) and hits[-1].score < selection.min_score
            if len(results[number]) == k or len(hits) == total or below:
                continue
            if len(hits) == fetch and more <= MOST:
                unfinished.append(number)
            else:  # too many do not pass, or an approximate index has no more to return
                results[number] = _all_scored(index, queries[number], k, selection)
        pending, fetch = np.array(unfinished, np.int64), more
    return results


def _all_scored(index: ProductIndex, query: Matrix, k: int, selection: Selection) -> list[Hit]:
    """Return the top k of all allowed products, by the scores of `ProductIndex.search`."""
    rows = np.arange(len(index.product_ids)) if selection.allowed is None else np.flatnonzero(selection.allowed)
    scores = index.scores(np.ascontiguousarray(query[None], np.float32), np.zeros(len(rows), np.int64), rows)
    return best_hits(index.product_ids, rows, scores, k, selection)


def best_hits(product_ids: Sequence[str], rows: Integers, scores: Matrix, k: int, selection: Selection) -> list[Hit]:
    """Return the top k that pass of the scored `rows`, best first; equal scores are in the order of their ids.

    `product_ids` are those of all rows of the index, and `scores` (rows,) belong to `rows`.
    """
    if selection.min_score is not None:
        high = scores >= np.float64(selection.min_score)
        rows, scores = rows[high], scores[high]
    first = GROWTH * k
    while True:
        lowest = np.partition(scores, -first)[-first] if first < len(scores) else -np.inf
        some = np.flatnonzero(scores >= lowest)
        hits = [Hit(product_ids[rows[one]], float(scores[one]), int(rows[one])) for one in some]
        found = selection.passing(sorted(hits, key=lambda hit: (-hit.score, hit.product_id)), k)
        if len(found) == k or len(some) == len(scores):
            return found
        first *= GROWTH
