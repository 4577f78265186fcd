"""Expected calibration error (ECE), and the bins of the reliability diagram.

ECE of Naeini et al. 2015, with the 15 equal-width bins of Guo et al. 2017 (arXiv:1706.04599). Products are binned by
the probability of their predicted class. ECE is the mean over products of |accuracy - mean probability| of their bin.
The gap is an absolute value, so noise raises the ECE of few products: `evaluation.calibration_interval` allows for it.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.metrics.classification import Labels, Probabilities
from pipeline_lib.metrics.weighted import Counts, Statistic

BINS = 15


def calibration_statistic(truth: Labels, probabilities: Probabilities) -> Statistic:
    """Return the statistic of ECE, a single figure, for truth (products,) and probabilities (products, classes)."""
    correct, confidence, bins = binned(truth, probabilities)
    gap_by_bin = np.zeros((len(truth), BINS))
    gap_by_bin[np.arange(len(truth)), bins] = correct - confidence

    def error(counts: Counts) -> NDArray[np.float64]:
        gaps = np.abs(counts @ gap_by_bin).sum(axis=1, keepdims=True)
        return np.asarray(gaps / counts.sum(axis=1, keepdims=True))

    return error


def reliability_rows(truth: Labels, probabilities: Probabilities) -> Iterator[tuple[int, float, float, int]]:
    """Yield (bin from 0, mean probability of the predicted class, accuracy, products) of each non-empty bin."""
    correct, confidence, bins = binned(truth, probabilities)
    for number in np.unique(bins).tolist():
        members = bins == number
        yield number, float(confidence[members].mean()), float(correct[members].mean()), int(members.sum())


def binned(
    truth: Labels, probabilities: Probabilities
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return for each product whether it is correct, its confidence, and its bin (upper end included)."""
    correct = (probabilities.argmax(axis=1) == truth).astype(np.float64)
    confidence = probabilities.max(axis=1).astype(np.float64)
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return correct, confidence, bins
