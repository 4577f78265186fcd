"""Is a probability of 0.8 right four times in five? Expected calibration error, and the table its diagram is drawn of.

ECE of Naeini et al. 2015 as Guo et al. 2017 (arXiv:1706.04599) measure networks with it: 15 bins of equal width over
the probability of the predicted class, and the mean over products of |share right - mean probability| of their bin.
A gap is never negative, so resampling adds noise to it: with few products the bootstrap interval lies a little high.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.metrics.classification import Labels, Probabilities
from pipeline_lib.metrics.weighted import Counts, Statistic

BINS = 15


def calibration_statistic(truth: Labels, probabilities: Probabilities) -> Statistic:
    """Return the statistic of the one figure ECE for truth (products,) and probabilities (products, classes)."""
    right, sure, place = _binned(truth, probabilities)
    members = np.zeros((len(truth), BINS))
    members[np.arange(len(truth)), place] = right - sure

    def error(counts: Counts) -> NDArray[np.float64]:
        gaps = np.abs(counts @ members).sum(axis=1, keepdims=True)
        return np.asarray(gaps / counts.sum(axis=1, keepdims=True))

    return error


def reliability_rows(truth: Labels, probabilities: Probabilities) -> Iterator[tuple[int, float, float, int]]:
    """Yield (bin from 0, mean probability of the predicted class, share right, products) of each bin that has any."""
    right, sure, place = _binned(truth, probabilities)
    for number in np.unique(place).tolist():
        here = place == number
        yield number, float(sure[here].mean()), float(right[here].mean()), int(here.sum())


def _binned(
    truth: Labels, probabilities: Probabilities
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return whether the prediction is right, its probability, and its bin; a bin holds its upper end, as in Guo's."""
    right = (probabilities.argmax(axis=1) == truth).astype(np.float64)
    sure = probabilities.max(axis=1).astype(np.float64)
    place = np.clip(np.ceil(sure * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return right, sure, place
