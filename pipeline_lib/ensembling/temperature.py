"""One number that brings a classifier's confidence in line with how often it is right.

Temperature scaling of Guo et al. 2017 (arXiv:1706.04599): logits / T, with the T of least log-loss. The logarithm of a
fused probability serves as the logit. The order of the classes stays, and so does every figure but the calibration.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.ensembling.means import Labels, Matrix, logarithm, softmax

COLDEST, HOTTEST = 0.05, 20.0
STEPS = 40
SETTLED = 1e-6


def scaled(probabilities: Matrix, temperature: float) -> Matrix:
    """Return probabilities (rows, classes) at a temperature; 1 leaves them as they are, bit for bit."""
    if temperature == 1.0:
        return probabilities
    return softmax(logarithm(probabilities) / temperature).astype(np.float32)


def fit_temperature(probabilities: Matrix, truth: Labels) -> float:
    """Return the temperature of least log-loss between COLDEST and HOTTEST, for truth (rows,).

    In 1 / T the loss is convex: Newton's steps, kept inside a bracket of its slope's change of sign.
    """
    logits = logarithm(probabilities)
    own = np.take_along_axis(logits, truth[:, None], axis=1)[:, 0]
    low, high = 1 / HOTTEST, 1 / COLDEST
    if _slope(logits, own, low)[0] >= 0:
        return HOTTEST
    if _slope(logits, own, high)[0] <= 0:
        return COLDEST
    inverse = 1.0
    for _ in range(STEPS):
        slope, bend = _slope(logits, own, inverse)
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        step = inverse - slope / bend if bend > 0 else low
        moved = step if low < step < high else (low + high) / 2
        if abs(moved - inverse) < SETTLED * inverse:
            break
        inverse = moved
    return float(1 / inverse)


def _slope(logits: NDArray[np.float64], own: NDArray[np.float64], inverse: float) -> tuple[float, float]:
    """Return the first and second derivative of the mean log-loss by 1 / T."""
    believed = softmax(logits * inverse)
    mean = (believed * logits).sum(axis=1)
    spread = (believed * (logits - mean[:, None]) ** 2).sum(axis=1)
    return float((mean - own).mean()), float(spread.mean())
