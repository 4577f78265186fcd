"""Statistics as functions of how often each unit counts: a row of ones is the sample, a row of counts a resample.

The jackknife that leaves units out is in another package, so code that only needs the figures does not import it.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]
# Contract: counts (resamples, units) -> figures (resamples, figures); a row of ones gives the figures themselves.
Statistic = Callable[[Counts], NDArray[np.float64]]


def point(statistic: Statistic, num_units: int) -> NDArray[np.float64]:
    """Return the figures of the sample itself, (figures,)."""
    figures: NDArray[np.float64] = statistic(np.ones((1, num_units)))[0]
    return figures


def weighted_means(values: NDArray[np.float64], counts: Counts) -> NDArray[np.float64]:
    """Return the mean of each column of `values` (units, columns) in each resample, (resamples, columns)."""
    means: NDArray[np.float64] = (counts @ values) / counts.sum(axis=1, keepdims=True)
    return means


def weighted_medians(values: NDArray[np.float64], counts: Counts) -> NDArray[np.float64]:
    """Return the median of `values` (units,) in each resample, (resamples,).

    The median of an even count is the mean of the middle two.

    >>> weighted_medians(np.array([5.0, 1.0, 3.0]), np.array([[1.0, 1.0, 1.0], [2.0, 1.0, 1.0]])).tolist()
    [3.0, 4.0]
    """
    order = np.argsort(values, kind="stable")
    drawn = np.cumsum(counts[:, order], axis=1)
    total = drawn[:, -1:]
    lower = (drawn <= (total - 1) // 2).sum(axis=1)
    upper = (drawn <= total // 2).sum(axis=1)
    return np.asarray((values[order[lower]] + values[order[upper]]) / 2)
