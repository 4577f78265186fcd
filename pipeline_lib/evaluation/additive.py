"""Figures that depend on the units only through sums: hit rates, mean rank, accuracy, macro-F1, calibration error.

A randomisation test swaps whole groups of units between two systems thousands of times. The sums of a swapped sample
follow from the sums of each group, so no test ever looks at a unit again.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pipeline_lib.metrics.calibration import BINS, binned
from pipeline_lib.metrics.classification import CLASS_FIGURES, ClassScores
from pipeline_lib.metrics.ranking import CUTOFFS, RANK_FIGURES
from pipeline_lib.metrics.tied_ranks import TiedRanks

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Additive:
    """Figures `names` of one system: `finish` turns sums (rows, columns) of `columns` (units, columns) into figures.

    Two systems over the same units can be compared if their `columns` mean the same.
    """

    names: tuple[str, ...]
    columns: sparse.csr_array
    finish: Callable[[Values], Values]

    def group_sums(self, groups: NDArray[np.int64], num_groups: int) -> sparse.csr_array:
        """Return the sums of each group, (groups, columns)."""
        units = len(groups)
        members = sparse.csr_array((np.ones(units), (groups, np.arange(units))), shape=(num_groups, units))
        return sparse.csr_array(members @ self.columns)


def rank_columns(ranks: TiedRanks, pooled_median: float) -> Additive:
    """Return RANK_FIGURES of ranks; in the place of the median stands the share of ranks at most `pooled_median`.

    The median of two runs together does not change when queries are swapped between them. The share of queries that are
    ranked at or above it is the statistic of Mood's median test.
    """
    hits = [ranks.hits(k) for k in CUTOFFS]
    above = ranks.expected() <= pooled_median
    columns = np.stack([*hits, np.mean(hits, axis=0), above, ranks.expected()], axis=1)
    return Additive(RANK_FIGURES, sparse.csr_array(columns), lambda sums: sums / len(ranks))


def class_columns(scores: ClassScores) -> Additive:
    """Return CLASS_FIGURES and ece of the class scores; the true classes must be those of the system compared with."""
    units, classes = len(scores.truth), scores.num_classes
    correct, confidence, bins = binned(scores)
    rows = np.arange(units)
    parts = [
        sparse.csr_array(np.stack([scores.ranks < 1, scores.ranks < 3], axis=1).astype(np.float64)),
        sparse.csr_array((correct, (rows, scores.truth)), shape=(units, classes)),
        sparse.csr_array((np.ones(units), (rows, scores.predicted)), shape=(units, classes)),
        sparse.csr_array((correct - confidence, (rows, bins)), shape=(units, BINS)),
    ]
    support = np.bincount(scores.truth, minlength=classes).astype(np.float64)
    occurs = support > 0

    def finish(sums: Values) -> Values:
        hits, right, predicted, gaps = np.split(sums, [2, 2 + classes, 2 + 2 * classes], axis=1)
        f1 = 2 * right / np.maximum(support + predicted, 1)
        recall = right / np.maximum(support, 1)
        macro = np.stack([share[:, occurs].mean(axis=1) for share in (f1, recall)], axis=1)
        return np.concatenate([hits / units, macro, np.abs(gaps).sum(axis=1, keepdims=True) / units], axis=1)

    return Additive((*CLASS_FIGURES, "ece"), sparse.csr_array(sparse.hstack(parts)), finish)
