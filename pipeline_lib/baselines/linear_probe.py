"""A linear probe in closed form: ridge regression of the classes on standardised features of the frozen trunk.

Least squares and not a logistic regression, because it needs only sums over the products: one pass over any number of
them gives every fold's probe, and its strength is chosen by generalised cross-validation (Golub, Heath and Wahba 1979)
from the same sums. Time is products x width^2, whatever the number of folds, classes and strengths.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Real = NDArray[np.float64]
Labels = NDArray[np.int64]

STRENGTHS = np.logspace(-5, 1, 13)
FLAT = 1e-7
BLOCK = 8192


@dataclass(frozen=True)
class Sums:
    """Sums over some products: how many, of features (width,), of their products, of classes, and of both."""

    count: int
    features: Real
    squares: Real
    classes: Real
    crossed: Real


@dataclass(frozen=True)
class Probe:
    """Scores of the classes as a linear map of the features: features @ slope + offset."""

    slope: Real
    offset: Real

    def scores(self, features: Matrix) -> Matrix:
        """Return (rows, classes); the largest is the class that is told."""
        return np.asarray(features @ self.slope + self.offset, np.float32)


def sums_of(features: Matrix, truth: Labels, num_classes: int) -> Sums:
    """Return the sums over features (rows, width) and truth (rows,), block by block."""
    width = features.shape[1]
    squares, crossed = np.zeros((width, width)), np.zeros((width, num_classes))
    for start in range(0, len(features), BLOCK):
        block = features[start : start + BLOCK].astype(np.float64)
        told = np.eye(num_classes)[truth[start : start + BLOCK]]
        squares += block.T @ block
        crossed += block.T @ told
    classes = np.bincount(truth, minlength=num_classes).astype(np.float64)
    return Sums(len(features), features.sum(axis=0, dtype=np.float64), squares, classes, crossed)


def added(parts: Sequence[Sums]) -> Sums:
    """Return the sums over all products of the parts."""
    return Sums(
        count=sum(part.count for part in parts),
        features=np.sum([part.features for part in parts], axis=0),
        squares=np.sum([part.squares for part in parts], axis=0),
        classes=np.sum([part.classes for part in parts], axis=0),
        crossed=np.sum([part.crossed for part in parts], axis=0),
    )


def fit_probe(sums: Sums) -> Probe:
    """Return the ridge regression on the products that were summed, its strength chosen among STRENGTHS."""
    mean, shares = sums.features / sums.count, sums.classes / sums.count
    spread = sums.squares / sums.count - np.outer(mean, mean)
    deviation = np.sqrt(np.maximum(np.diag(spread), 0))
    # A feature that never changes says nothing, and would be divided by 0.
    scale = np.where(deviation > FLAT, 1 / np.maximum(deviation, FLAT), 0.0)
    values, vectors = np.linalg.eigh(scale[:, None] * spread * scale)
    values = np.maximum(values, 0)
    along = vectors.T @ (scale[:, None] * (sums.crossed / sums.count - np.outer(mean, shares)))
    strength = _strength(values, along, float((shares * (1 - shares)).sum()), sums.count)
    slope = scale[:, None] * (vectors @ (along / (values + strength)[:, None]))
    return Probe(slope, shares - mean @ slope)


def _strength(values: Real, along: Real, variance: float, count: int) -> float:
    """Return the strength of least generalised cross-validation error: residual / (1 - freedom / products)^2."""
    energy = (along**2).sum(axis=1)
    kept = values / (values + STRENGTHS[:, None])
    residual = variance - (energy / (values + STRENGTHS[:, None]) * (2 - kept)).sum(axis=1)
    left = 1 - (1 + kept.sum(axis=1)) / count
    error = np.where(left > 0, np.maximum(residual, 0) / np.maximum(left, FLAT) ** 2, np.inf)
    return float(STRENGTHS[error.argmin()])
