"""Ranks of the best right answer under ties: its distribution over every order of the equal scores.

An `argsort` breaks ties by position, which can give a collapsed model a perfect score. Here a tie counts by the
probability of a hit, so a model that scores everything alike gets exactly the figures of a random order.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.metrics.weighted import Counts

Integers = NDArray[np.int64]
Values = NDArray[np.float64]
HALF = 1e-9  # a sum of probabilities within this share of one half of the queries is one half


@dataclass(frozen=True)
class TiedRanks:
    """For each query: `higher` wrong items score above its best right one; `right` and `wrong` items share its score.

    The best right one counts in `right`, so `right` is at least 1. All three are (queries,).
    """

    higher: Integers
    right: Integers
    wrong: Integers

    def __len__(self) -> int:
        return len(self.higher)

    def expected(self) -> Values:
        """Return the expected rank, from 1: 1 + higher + wrong / (right + 1)."""
        return np.asarray(1.0 + self.higher + self.wrong / (self.right + 1))

    def hits(self, k: int) -> Values:
        """Return the probability that a right answer is among the first k: 1 - C(t, k - h) / C(t + m, k - h).

        h is `higher`, m `right`, t `wrong`. It is 0 for h >= k, and 1 for k - h > t.
        """
        drawn = k - self.higher
        hits = (drawn > self.wrong).astype(np.float64)
        some = np.flatnonzero((drawn > 0) & (drawn <= self.wrong))
        if len(some):
            cases, place = np.unique(
                np.stack([drawn[some], self.right[some], self.wrong[some]]), axis=1, return_inverse=True
            )
            hits[some] = 1.0 - _none_drawn(*cases)[place.ravel()]
        return hits

    def take(self, queries: Integers) -> "TiedRanks":
        """Return the ranks of the given queries, in that order."""
        return TiedRanks(self.higher[queries], self.right[queries], self.wrong[queries])


def untied(ranks: Values | Integers) -> TiedRanks:
    """Return whole ranks (queries,), from 1, as ranks without ties."""
    higher = np.asarray(ranks).astype(np.int64) - 1
    return TiedRanks(higher, np.ones_like(higher), np.zeros_like(higher))


def random_order(gallery: Integers, right: Integers) -> TiedRanks:
    """Return the ranks of a random order: `right` right answers in a gallery of equal scores, both (queries,)."""
    right = np.asarray(right, np.int64)
    return TiedRanks(np.zeros_like(right), right, np.asarray(gallery, np.int64) - right)


def weighted_median_ranks(ranks: TiedRanks, counts: Counts) -> Values:
    """Return the median rank in each resample of counts (resamples, queries), over all orders of the ties.

    It is the mean of the first ranks at which the hits reach half of the queries and exceed it. Without ties that is
    the usual median.
    """
    tied = np.flatnonzero(ranks.wrong)
    fixed = np.flatnonzero(ranks.wrong == 0)
    order = fixed[np.argsort(ranks.higher[fixed], kind="stable")]
    ordered = ranks.higher[order] + 1
    drawn = np.concatenate([np.zeros((len(counts), 1)), np.cumsum(counts[:, order], axis=1)], axis=1)
    triples = np.stack([ranks.higher[tied], ranks.right[tied], ranks.wrong[tied]])
    distinct, place = np.unique(triples, axis=1, return_inverse=True)
    cases, weights = TiedRanks(*distinct), np.zeros((len(counts), distinct.shape[1]))
    np.add.at(weights.T, place.ravel(), counts[:, tied].T)
    half, last = counts.sum(axis=1) / 2, int((ranks.higher + ranks.wrong).max()) + 1

    def hits(ks: Integers) -> Values:
        found = drawn[np.arange(len(ks)), np.searchsorted(ordered, ks, side="right")]
        if not len(tied):
            return np.asarray(found)
        different, which = np.unique(ks, return_inverse=True)
        by_k = weights @ np.stack([cases.hits(int(k)) for k in different], axis=1)
        return np.asarray(found + by_k[np.arange(len(ks)), which])

    lower = _first(lambda ks: hits(ks) >= half * (1 - HALF), len(counts), last)
    upper = _first(lambda ks: hits(ks) > half * (1 + HALF), len(counts), last)
    return np.asarray((lower + upper) / 2)


def _first(reached: Callable[[Integers], NDArray[np.bool_]], rows: int, last: int) -> Integers:
    """Return in each row the smallest k from 1 to `last` that is reached, by bisection."""
    low, high = np.ones(rows, np.int64), np.full(rows, last, np.int64)
    while (low < high).any():
        middle = (low + high) // 2
        enough = reached(middle)
        low, high = np.where(enough, low, middle + 1), np.where(enough, middle, high)
    return low


def _none_drawn(drawn: Integers, right: Integers, wrong: Integers) -> Values:
    """Return C(wrong, drawn) / C(wrong + right, drawn), as a product of the fewer factors."""
    total, fewer, more = wrong + right, np.minimum(drawn, right), np.maximum(drawn, right)
    share = np.ones(len(drawn))
    for factor in range(int(fewer.max())):
        share *= np.where(factor < fewer, (total - more - factor) / np.maximum(total - factor, 1), 1.0)
    return share
