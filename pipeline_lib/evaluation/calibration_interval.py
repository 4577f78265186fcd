"""The 95 % interval of the calibration error (ECE).

The ECE of a sample is a sum of absolute gaps, so noise raises it: a calibrated model on 60 products has an ECE of about
0.1. Resampling adds the noise again, which puts the figure at the lower end of its bootstrap interval. Here the gaps of
the bins are shrunk towards a common gap as in a hierarchical normal model (Gelman et al. 2013, chapter 5), and the
interval is centred on the ECE expected of the shrunk gaps.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from pipeline_lib.evaluation.jackknife import t_quantile
from pipeline_lib.metrics.calibration import BINS, binned
from pipeline_lib.metrics.classification import ClassScores

# Scale of the half-Cauchy prior of the spread of the gaps between bins: 3 points.
PRIOR_SCALE = 0.03
SPREADS = np.concatenate([[0.0], np.geomspace(0.002, 0.6, 60)])


class BinGaps(NamedTuple):
    """Accuracy minus mean probability, its variance, and the share of the products; each for the non-empty bins."""

    gaps: NDArray[np.float64]
    variances: NDArray[np.float64]
    shares: NDArray[np.float64]


def calibration_interval(scores: ClassScores, groups: NDArray[np.int64]) -> tuple[float, float]:
    """Return the interval of the ECE of scores with the groups (products,).

    Half its width is t times the standard error of the weighted sum of the gaps.
    """
    num_groups = int(groups.max()) + 1
    if num_groups == 1:
        return 0.0, 1.0
    observed = bin_gaps(*binned(scores), groups)
    centre = expected_error(observed)
    half = t_quantile(num_groups) * np.sqrt((observed.shares**2 * observed.variances).sum())
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def bin_gaps(
    correct: NDArray[np.float64],
    confidence: NDArray[np.float64],
    bins: NDArray[np.int64],
    groups: NDArray[np.int64],
) -> BinGaps:
    """Return the gaps of the non-empty bins; all arguments are (products,).

    The variance is the binomial one times the design effect: how much more the residuals vary between groups than they
    would if products were independent. Half a right and half a wrong product are added to each bin, so that no bin is
    certain.
    """
    counts = np.bincount(bins, minlength=BINS)
    used = counts > 0
    number = counts[used]
    residuals = correct - confidence
    gaps = np.bincount(bins, residuals, BINS)[used] / number
    by_group = (np.bincount(groups, residuals) ** 2).sum()
    effect = max(1.0, by_group / max((residuals**2).sum(), np.finfo(float).tiny))
    effective = number / effect
    mean = np.bincount(bins, confidence, BINS)[used] / number
    smoothed = (mean * effective + 0.5) / (effective + 1)
    binomial = np.bincount(bins, confidence * (1 - confidence), BINS)[used] / number
    variances = np.maximum(binomial, smoothed * (1 - smoothed)) / effective
    return BinGaps(gaps, variances, number / len(bins))


def expected_error(observed: BinGaps) -> float:
    """Return the posterior mean of the sum of share x |gap|, with flat prior on the common gap.

    The gap of bin b is normal around the common gap with spread tau; for each tau of a grid the posterior of every gap
    is normal, and the mean of its absolute value that of a folded normal.
    """
    gaps, variances, shares = observed
    total = variances[None, :] + SPREADS[:, None] ** 2
    common_variance = 1 / (1 / total).sum(axis=1)
    common = (gaps / total).sum(axis=1) * common_variance
    log_likelihood = 0.5 * np.log(common_variance) - 0.5 * (np.log(total) + (gaps - common[:, None]) ** 2 / total).sum(
        axis=1
    )
    prior = np.gradient(SPREADS) / (1 + (SPREADS / PRIOR_SCALE) ** 2)
    weight = np.exp(log_likelihood - log_likelihood.max()) * prior
    towards_common = variances / total
    mean = gaps + towards_common * (common[:, None] - gaps)
    variance = variances * (1 - towards_common) + towards_common**2 * common_variance[:, None]
    errors = (shares * _folded_mean(mean, np.sqrt(variance))).sum(axis=1)
    return float((weight * errors).sum() / weight.sum())


def _folded_mean(mean: NDArray[np.float64], deviation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of |x| for normal x."""
    ratio = mean / deviation
    density = np.exp(-(ratio**2) / 2) * np.sqrt(2 / np.pi)
    folded: NDArray[np.float64] = deviation * density + mean * (1 - 2 * ndtr(-ratio))
    return folded
