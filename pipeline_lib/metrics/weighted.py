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
