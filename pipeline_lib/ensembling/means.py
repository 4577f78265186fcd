"""Means of what several models believe, and the weights under which such a mean believes the truth most.

The arithmetic mean lets a member that is unsure move the result less than one that is sure; the geometric one, brought
back to a sum of 1, is the mean of their logits, and lets any member veto a class. Both fits lower the log-loss of the
truth from equal weights on, step by step and never back, so fitted weights are no worse where they were fitted.
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
SETTLED = 1e-7


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
    """Return the weighted geometric mean of the members, each row brought back to a sum of 1.

    A probability of 0 counts as the smallest one that a float32 holds.
    """
    mean = _weighted_sum((logarithm(member) for member in members), weights)
    return softmax(mean).astype(np.float32)


def fit_mixture(members: Matrix, truth: Labels) -> Weights:
    """Return the arithmetic mean's weights of least log-loss, by expectation maximisation.

    Its step, weight x the mean share of the member in the truth's probability, never raises the loss (Dempster, Laird
    and Rubin 1977), and needs the probabilities of the truth alone.
    """
    own = np.take_along_axis(members, truth[None, :, None], axis=2)[..., 0].astype(np.float64)
    own = np.maximum(own, SMALLEST)
    weights = np.full(len(members), 1 / len(members))
    for _ in range(MIXTURE_STEPS):
        shares = weights[:, None] * own
        moved = (shares / shares.sum(axis=0)).mean(axis=1)
        settled = np.abs(moved - weights).max() < SETTLED
        weights = moved / moved.sum()
        if settled:
            break
    return weights


def fit_pool(members: Matrix, truth: Labels) -> Weights:
    """Return the geometric mean's weights of least log-loss, by exponentiated gradients that keep to the simplex.

    The loss is convex in the weights; a step that would raise it is halved (Kivinen and Warmuth 1997).
    """
    logs = logarithm(members)
    own = np.take_along_axis(logs, truth[None, :, None], axis=2)[..., 0]

    def loss(weights: Weights) -> tuple[float, Weights]:
        pooled = np.tensordot(weights, logs, axes=1)
        believed = softmax(pooled)
        value = -np.log(np.maximum(np.take_along_axis(believed, truth[:, None], axis=1), SMALLEST)).mean()
        expected = np.einsum("nc,mnc->mn", believed, logs)
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
        settled = value - reached < SETTLED
        weights, value, gradient, step = moved, reached, slope, 2 * step
        if settled:
            break
    return weights


def logarithm(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the logarithm of probabilities, of 0 that of the smallest float32."""
    return np.asarray(np.log(np.maximum(probabilities, SMALLEST).astype(np.float64)))


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows of logits (rows, classes) as probabilities."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _weighted_sum(members: Iterable[NDArray[np.floating]], weights: Weights | None) -> NDArray[np.float64]:
    """Return the weighted sum, or the plain mean, which a sum of equal weights gives but for the last bit."""
    total: NDArray[np.float64] | None = None
    number = 0
    for number, member in enumerate(members, start=1):
        part = member if weights is None else weights[number - 1] * member
        total = part.astype(np.float64) if total is None else total + part
    assert total is not None, "a mean of no member"
    return total if weights is not None else total / number


# Name in params.yaml -> mean.
MEANS: dict[MeanKind, Mean] = {
    "arithmetic": Mean(arithmetic_mean, fit_mixture),
    "geometric": Mean(geometric_mean, fit_pool),
}
