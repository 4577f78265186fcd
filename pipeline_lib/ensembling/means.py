"""Weighted means of class probabilities, and the weights that minimise the log-loss of such a mean.

In the arithmetic mean an uncertain member moves the result less than a confident one. The geometric mean, normalised to
a sum of 1, is the mean of the logits, so any member can veto a class. Both fits start from equal weights and never
raise the log-loss, so on the products of the fit the fitted weights are at least as good.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.params.ensemble import MeanKind

Matrix = NDArray[np.float32]
Weights = NDArray[np.float64]
Labels = NDArray[np.int64]

SMALLEST = float(np.finfo(np.float32).tiny)
MIXTURE_STEPS = 500
POOL_STEPS = 60
TOLERANCE = 1e-7


@dataclass(frozen=True)
class Mean:
    """`fuse`: members (rows, classes) and their weights, which sum to 1, or None for equal ones -> (rows, classes).

    `fit`: members (members, rows, classes) and truth (rows,) -> weights (members,).
    """

    fuse: Callable[[Iterable[Matrix], Weights | None], Matrix]
    fit: Callable[[Matrix, Labels], Weights]


def arithmetic_mean(members: Iterable[Matrix], weights: Weights | None = None) -> Matrix:
    """Return the weighted mean of the members."""
    return _weighted_sum(members, weights).astype(np.float32)


def geometric_mean(members: Iterable[Matrix], weights: Weights | None = None) -> Matrix:
    """Return the weighted geometric mean of the members, each row normalised to a sum of 1.

    A probability of 0 counts as the smallest normal float32.
    """
    mean = _weighted_sum((logarithm(member) for member in members), weights)
    return softmax(mean).astype(np.float32)


def fit_mixture(members: Matrix, truth: Labels) -> Weights:
    """Return the weights (members,) of the arithmetic mean that minimise log-loss, by expectation maximisation.

    A step multiplies each weight by the mean share of its member in the probability of the true class. It never raises
    the loss (Dempster, Laird and Rubin 1977) and only needs the probabilities of the true class.
    """
    own = np.take_along_axis(members, truth[None, :, None], axis=2)[..., 0].astype(np.float64)
    own = np.maximum(own, SMALLEST)
    weights = np.full(len(members), 1 / len(members))
    for _ in range(MIXTURE_STEPS):
        shares = weights[:, None] * own
        moved = (shares / shares.sum(axis=0)).mean(axis=1)
        converged = np.abs(moved - weights).max() < TOLERANCE
        weights = moved / moved.sum()
        if converged:
            break
    return weights


def fit_pool(members: Matrix, truth: Labels) -> Weights:
    """Return the weights (members,) of the geometric mean that minimise log-loss, by exponentiated gradient.

    The loss is convex in the weights, which stay on the simplex. A step that would raise it is halved (Kivinen and
    Warmuth 1997).
    """
    logs = logarithm(members)
    own = np.take_along_axis(logs, truth[None, :, None], axis=2)[..., 0]

    def loss(weights: Weights) -> tuple[float, Weights]:
        pooled = np.tensordot(weights, logs, axes=1)
        fused = softmax(pooled)
        value = -np.log(np.maximum(np.take_along_axis(fused, truth[:, None], axis=1), SMALLEST)).mean()
        expected = np.einsum("nc,mnc->mn", fused, logs)
        return float(value), np.asarray((expected - own).mean(axis=1))

    weights, step = np.full(len(members), 1 / len(members)), 1.0
    value, gradient = loss(weights)
    for _ in range(POOL_STEPS):
        moved = weights * np.exp(-step * (gradient - gradient.min()))
        moved /= moved.sum()
        reached, slope = loss(moved)
        if reached > value:
            step /= 2
            continue
        converged = value - reached < TOLERANCE
        weights, value, gradient, step = moved, reached, slope, 2 * step
        if converged:
            break
    return weights


def logarithm(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the natural logarithm of probabilities; 0 counts as the smallest normal float32."""
    return np.asarray(np.log(np.maximum(probabilities, SMALLEST).astype(np.float64)))


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the softmax of each row of logits (rows, classes)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _weighted_sum(members: Iterable[NDArray[np.floating]], weights: Weights | None) -> NDArray[np.float64]:
    """Return the weighted sum, or without weights the plain mean, equal to a sum with equal weights up to rounding."""
    total: NDArray[np.float64] | None = None
    number = 0
    for number, member in enumerate(members, start=1):
        part = member if weights is None else weights[number - 1] * member
        total = part.astype(np.float64) if total is None else total + part
    assert total is not None, "the mean of no members"
    return total if weights is not None else total / number


# Name in params.yaml -> mean.
MEANS: dict[MeanKind, Mean] = {
    "arithmetic": Mean(arithmetic_mean, fit_mixture),
    "geometric": Mean(geometric_mean, fit_pool),
}
