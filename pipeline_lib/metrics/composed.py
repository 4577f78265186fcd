"""Ranks and average precision of composed queries (a reference picture and a sentence), from rows of scores.

Equal scores count by their expectation over every order, as in `tied_ranks`, so a model that scores everything alike
gets the figures of chance. Scores are float64, so that equal vectors tie.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.metrics.score_counts import EQUAL
from pipeline_lib.metrics.tied_ranks import Integers, Values

# Contract: a slice of the queries -> their scores (queries, gallery), float64, for vectors of at most unit length.
Score = Callable[[slice], Values]
# Bytes of the score rows that are in memory together, and of one block of a product of many vectors.
ROWS_BYTES, BLOCK_BYTES = 128 << 20, 64 << 20


@dataclass(frozen=True)
class TiedRank:
    """The rank of one query's best right answer: see `TiedRanks`."""

    higher: int
    right: int
    wrong: int


def vector_scores(queries: NDArray[np.float32], targets: NDArray[np.float32]) -> Score:
    """Return the scores of (queries, dim) with (gallery, vectors, dim): the largest inner product over the vectors.

    `targets` may be a memory map: it is read block by block.
    """
    num_gallery, vectors, dim = targets.shape
    if queries.shape[1:] != (dim,):
        raise ValueError(f"queries {queries.shape} and targets {targets.shape} must have the same width")

    def score(part: slice) -> Values:
        own = queries[part].astype(np.float64)
        scores = np.empty((len(own), num_gallery))
        block = max(1, BLOCK_BYTES // (8 * vectors * (dim + len(own))))
        for start in range(0, num_gallery, block):
            some = np.asarray(targets[start : start + block], np.float64)
            products = own @ some.reshape(-1, dim).T
            scores[:, start : start + block] = products.reshape(len(own), len(some), vectors).max(axis=2)
        return scores

    return score


def query_chunks(num_queries: int, num_gallery: int) -> Iterator[slice]:
    """Yield slices of the queries whose scores are in memory together."""
    rows = max(1, ROWS_BYTES // (8 * max(1, num_gallery)))
    for start in range(0, num_queries, rows):
        yield slice(start, min(start + rows, num_queries))


def tied_rank(right: Values, wrong: Values) -> TiedRank:
    """Return the rank of the best of the `right` scores (at least one) among those and the `wrong` ones, sorted."""
    best = right.max()
    higher, equal = _above_and_equal(wrong, np.array([best]))
    return TiedRank(int(higher[0]), int((right >= best - EQUAL).sum()), int(equal[0]))


def average_precisions(right: Values, wrong: Values, cutoffs: Sequence[int]) -> list[float]:
    """Return the expected AP@K at each cut-off over all orders of equal scores; `wrong` is sorted.

    AP@K = sum over k <= K of P(k) rel(k) / min(right answers, K), as CIRCO (arXiv:2303.15247) counts it. At position j
    of n equal scores with r right ones, after a others with h right ones, the expected P(k) rel(k) is
    r / n (h + 1 + (j - 1) (r - 1) / (n - 1)) / (a + j) (McSherry and Najork 2008). `right` must not be empty.
    """
    descending = np.sort(right)[::-1]
    starts = np.flatnonzero(np.concatenate([[True], descending[:-1] - descending[1:] > EQUAL]))
    ends = np.append(starts[1:], len(descending))
    higher, equal = _above_and_equal(wrong, descending[starts])
    blocks = zip(starts.tolist(), (ends - starts).tolist(), higher.tolist(), equal.tolist(), strict=True)
    gains = np.zeros(max(cutoffs))
    for before, num_right, above, tied in blocks:
        _add_block(gains, before, above, num_right, num_right + tied)
    sums = np.cumsum(gains)
    return [float(sums[k - 1]) / min(len(right), k) for k in cutoffs]


def chance_precisions(num_right: int, num_gallery: int, cutoffs: Sequence[int]) -> list[float]:
    """Return AP@K of a random order of the gallery at each cut-off."""
    gains = np.zeros(max(cutoffs))
    _add_block(gains, 0, 0, num_right, num_gallery)
    sums = np.cumsum(gains)
    return [float(sums[k - 1]) / min(num_right, k) for k in cutoffs]


def best_positions(scores: Values, depth: int, places: Integers) -> Integers:
    """Return the gallery positions of the best `depth` scores (gallery,), best first; equal ones by `places`.

    Positions with a score of -infinity are left out.
    """
    depth = min(depth, int((scores > -np.inf).sum()))
    if depth == 0:
        return np.zeros(0, np.int64)
    last = np.partition(scores, -depth)[-depth]
    some = np.flatnonzero(scores >= last - EQUAL)
    some = some[np.argsort(-scores[some], kind="stable")]
    # Scores within rounding of the one before share its level, so that the level and not the rounding orders them.
    levels = np.cumsum(np.concatenate([[False], scores[some][:-1] - scores[some][1:] > EQUAL]))
    return some[np.lexsort((places[some], levels))][:depth]


def changed_answers(first: Sequence[str], groups: Sequence[str]) -> float:
    """Return the share of pairs of queries in one group, paraphrases of each other, whose first answers differ.

    Each group of two queries or more counts once. Raises ValueError if there is none.

    >>> changed_answers(["a", "b", "a", "a", "c"], ["x", "x", "y", "y", "z"])
    0.5
    """
    answers: dict[str, list[str]] = {}
    for answer, group in zip(first, groups, strict=True):
        answers.setdefault(group, []).append(answer)
    shares = []
    for listed in answers.values():
        if len(listed) > 1:
            _, counts = np.unique(np.array(listed, dtype=object).astype(str), return_counts=True)
            pairs = len(listed) * (len(listed) - 1)
            shares.append(1 - float((counts * (counts - 1)).sum()) / pairs)
    if not shares:
        raise ValueError("no group has two queries")
    return float(np.mean(shares))


def _above_and_equal(wrong: Values, at: Values) -> tuple[Integers, Integers]:
    """Return how many of the sorted `wrong` scores are above each of `at`, and how many equal it."""
    upper, lower = np.searchsorted(wrong, at + EQUAL, side="right"), np.searchsorted(wrong, at - EQUAL, side="left")
    return len(wrong) - upper, upper - lower


def _add_block(gains: Values, before: int, above: int, num_right: int, size: int) -> None:
    """Add the expected P(k) rel(k) of `size` equal scores, behind `before` right and `above` wrong answers."""
    first = before + above
    position = np.arange(1, min(size, len(gains) - first) + 1)
    if len(position):
        share = (num_right - 1) / (size - 1) if size > 1 else 0.0
        found = before + 1 + (position - 1) * share
        gains[first : first + len(position)] += num_right / size * found / (first + position)
