"""Expected calibration error (ECE), and the bins of the reliability diagram.

ECE of Naeini et al. 2015, with the 15 equal-width bins of Guo et al. 2017 (arXiv:1706.04599). Products are binned by
the probability of their predicted class. ECE is the mean over products of |accuracy - mean probability| of their bin.
The gap is an absolute value, so noise raises the ECE of few products: `evaluation.calibration_interval` allows for it.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.metrics.classification import ClassScores
from pipeline_lib.metrics.weighted import Counts, Statistic

BINS = 15


def calibration_statistic(scores: ClassScores) -> Statistic:
    """Return the statistic of ECE, a single figure."""
    correct, confidence, bins = binned(scores)
    gap_by_bin = np.zeros((len(bins), BINS))
    gap_by_bin[np.arange(len(bins)), bins] = correct - confidence

    def error(counts: Counts) -> NDArray[np.float64]:
        gaps = np.abs(counts @ gap_by_bin).sum(axis=1, keepdims=True)
        return np.asarray(gaps / counts.sum(axis=1, keepdims=True))

    return error


def reliability_rows(scores: ClassScores) -> Iterator[tuple[int, float, float, int]]:
    """Yield (bin from 0, mean probability of the predicted class, accuracy, products) of each non-empty bin."""
    correct, confidence, bins = binned(scores)
    for number in np.unique(bins).tolist():
        members = bins == number
        yield number, float(confidence[members].mean()), float(correct[members].mean()), int(members.sum())


def binned(scores: ClassScores) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return for each product whether it is correct, its confidence, and its bin (upper end included)."""
    correct = (scores.predicted == scores.truth).astype(np.float64)
    bins = np.clip(np.ceil(scores.confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return correct, scores.confidence, bins
