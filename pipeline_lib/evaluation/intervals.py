"""95 % intervals of shares and means over grouped queries or products.

The percentile bootstrap is too narrow for few groups: of 20 products in 11 groups its interval of top-1 covers the
truth in 87 of 100 samples, and where all are right it is a point. `bench/coverage.py` measures the intervals used here.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from pipeline_lib.evaluation.jackknife import COVERAGE, Jackknife, t_quantile

Z = float(ndtri((1 + COVERAGE) / 2))
BLOCK_VALUES = 1 << 20
LARGEST_SIZE = 20  # effective size of a share in units: guards against a variance of almost nothing


def share_intervals(figures: Jackknife) -> NDArray[np.float64]:
    """Return the intervals of figures in 0 .. 1 as (figures, 2): Wilson's score interval with the effective size.

    The effective size is the number of independent products whose share would vary as much, `value (1 - value) /
    variance`, reduced by the squared ratio of the normal quantile to Student's (Korn and Graubard 1998; Franco et al.
    2019, doi:10.1093/jssam/smy019, recommend Wilson's interval among those for survey clusters). Where all groups agree
    it is their number. A single group tells nothing: its interval is 0 .. 1.
    """
    values, variances, _, num_units, num_groups = figures
    if num_groups == 1:
        return np.tile([0.0, 1.0], (len(values), 1))
    spread = values * (1 - values)
    vary = (spread > 0) & (variances > 0)
    size = np.divide(spread, variances, out=np.full(len(values), float(num_groups)), where=vary)
    # A mean over classes or cut-offs varies less than a single share: MeanRecall up to 4 times, but not without bound.
    size = np.clip(size, 1, LARGEST_SIZE * num_units) * (Z / t_quantile(num_groups)) ** 2
    return np.clip(_wilson(values, size), 0, 1)


def mean_interval(
    values: NDArray[np.float64], groups: NDArray[np.int64], resamples: int, seed: int
) -> tuple[float, float]:
    """Return the interval of the mean of `values` (units,) by the bootstrap-t over groups (Efron 1981).

    Ranks have a long tail, for which the distribution of the studentized mean is taken from resamples and not from
    Student's table. With few groups it is still too narrow: docs/metrics.md has its coverage.
    """
    num_groups = int(groups.max()) + 1
    mean, variance = float(values.mean()), variance_of_mean(values, groups)
    if num_groups == 1 or variance == 0:
        return float(values.min()), float(values.max())
    sizes, sums = np.bincount(groups).astype(np.float64), np.bincount(groups, values - mean)
    columns = np.stack([sizes, sums, sums**2, sums * sizes, sizes**2], axis=1)
    rng = np.random.default_rng(seed)
    studentized = []
    for start in range(0, resamples, block := max(1, BLOCK_VALUES // num_groups)):
        # One call per resample, so the draws do not depend on the block.
        drawn = [rng.integers(0, num_groups, num_groups) for _ in range(min(block, resamples - start))]
        counts = np.stack([np.bincount(row, minlength=num_groups) for row in drawn]).astype(np.float64)
        units, total, squares, cross, size_squares = (counts @ columns).T
        shift = total / units
        errors = np.sqrt(np.maximum(squares - 2 * shift * cross + shift**2 * size_squares, 0)) / units
        studentized.append(shift[errors > 0] / errors[errors > 0])
    tail = 50 * (1 - COVERAGE)
    low, high = np.percentile(np.concatenate(studentized), [100 - tail, tail])
    error = np.sqrt(variance * (num_groups - 1) / num_groups)
    limits = np.clip([mean - low * error, mean - high * error], values.min(), None)
    return float(limits[0]), float(limits[1])


def variance_of_mean(values: NDArray[np.float64], groups: NDArray[np.int64]) -> float:
    """Return the variance of the mean of `values` (units,) between groups: squared group sums of the deviations."""
    num_groups = int(groups.max()) + 1
    sums = np.bincount(groups, values - values.mean())
    return float((sums**2).sum() / len(values) ** 2 * num_groups / max(num_groups - 1, 1))


def _wilson(values: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Wilson's score interval (1927) of shares of `size` trials, (figures, 2)."""
    scale = 1 + Z * Z / size
    centre = (values + Z * Z / (2 * size)) / scale
    half = Z * np.sqrt(np.clip(values * (1 - values), 0, None) / size + Z * Z / (4 * size**2)) / scale
    return np.stack([centre - half, centre + half], axis=1)
