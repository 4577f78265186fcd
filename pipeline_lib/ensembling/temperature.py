"""Temperature scaling: one number that calibrates a classifier's confidence.

Guo et al. 2017 (arXiv:1706.04599): logits / T, with the T that minimises log-loss. The logarithm of a fused probability
serves as the logit. The ranking of the classes does not change, so only the calibration figures do.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.ensembling.means import Labels, Matrix, logarithm, softmax

COLDEST, HOTTEST = 0.05, 20.0
STEPS = 40
TOLERANCE = 1e-6


def scaled(probabilities: Matrix, temperature: float) -> Matrix:
    """Return probabilities (rows, classes) scaled by a temperature; 1 returns them unchanged."""
    if temperature == 1.0:
        return probabilities
    return softmax(logarithm(probabilities) / temperature).astype(np.float32)


def fit_temperature(probabilities: Matrix, truth: Labels) -> float:
    """Return the temperature between COLDEST and HOTTEST that minimises log-loss, for truth (rows,).

    The loss is convex in 1 / T. Newton's method finds its minimum, with bisection where a step would leave the bracket.
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
        slope, curvature = _slope(logits, own, inverse)
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        step = inverse - slope / curvature if curvature > 0 else low
        moved = step if low < step < high else (low + high) / 2
        if abs(moved - inverse) < TOLERANCE * inverse:
            break
        inverse = moved
    return float(1 / inverse)


def _slope(logits: NDArray[np.float64], own: NDArray[np.float64], inverse: float) -> tuple[float, float]:
    """Return the first and second derivative of the mean log-loss with respect to 1 / T."""
    probabilities = softmax(logits * inverse)
    mean = (probabilities * logits).sum(axis=1)
    spread = (probabilities * (logits - mean[:, None]) ** 2).sum(axis=1)
    return float((mean - own).mean()), float(spread.mean())
