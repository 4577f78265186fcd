"""A linear probe in closed form: ridge regression of the classes on standardised features of the frozen trunk.

Least squares and not a logistic regression, because it needs only sums over the products: one pass over any number of
them gives every fold's probe, and its error on another fold at any strength. Time is products x width^2, whatever the
number of folds, classes and strengths.

The strength is the one of least error on folds that did not teach. Generalised cross-validation (Golub, Heath and Wahba
1979), which needs no fold, takes products for independent: two photos of one thing made it choose far too little (.43
right where the choice by folds has .65, on 1,746 photos of 873 exercises). It serves where there are no folds.
"""

from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True)
class Regression:
    """The ridge regression on some products at every strength at once, in the basis where features do not mix."""

    mean: Real
    shares: Real
    scale: Real
    values: Real
    vectors: Real
    along: Real
    count: int

    def probe(self, strength: float) -> Probe:
        """Return the probe of this strength."""
        slope = self.scale[:, None] * (self.vectors @ (self.along / (self.values + strength)[:, None]))
        return Probe(slope, self.shares - self.mean @ slope)

    def best(self, errors: Real) -> Probe:
        """Return the probe of least error, given one for each of STRENGTHS."""
        return self.probe(float(STRENGTHS[errors.argmin()]))

    def errors_on(self, held: Sums) -> Real:
        """Return the squared error on other products, summed over them and the classes, for each of STRENGTHS."""
        found = []
        for strength in STRENGTHS:
            probe = self.probe(strength)
            means = held.features @ probe.slope
            squared = (probe.slope * (held.squares @ probe.slope)).sum() + 2 * means @ probe.offset
            squared += held.count * (probe.offset**2).sum() + held.count
            found.append(squared - 2 * ((probe.slope * held.crossed).sum() + probe.offset @ held.classes))
        return np.array(found)

    def generalised_errors(self) -> Real:
        """Return residual / (1 - freedom / products)^2 on the products themselves, for each of STRENGTHS."""
        energy = (self.along**2).sum(axis=1)
        kept = self.values / (self.values + STRENGTHS[:, None])
        variance = float((self.shares * (1 - self.shares)).sum())
        residual = variance - (energy / (self.values + STRENGTHS[:, None]) * (2 - kept)).sum(axis=1)
        left = 1 - (1 + kept.sum(axis=1)) / self.count
        return np.where(left > 0, np.maximum(residual, 0) / np.maximum(left, FLAT) ** 2, np.inf)


def regress(sums: Sums) -> Regression:
    """Return the ridge regression of the classes on standardised features of the products that were summed."""
    mean, shares = sums.features / sums.count, sums.classes / sums.count
    spread = sums.squares / sums.count - np.outer(mean, mean)
    deviation = np.sqrt(np.maximum(np.diag(spread), 0))
    # A feature that never changes says nothing, and would be divided by 0.
    scale = np.where(deviation > FLAT, 1 / np.maximum(deviation, FLAT), 0.0)
    values, vectors = np.linalg.eigh(scale[:, None] * spread * scale)
    along = vectors.T @ (scale[:, None] * (sums.crossed / sums.count - np.outer(mean, shares)))
    return Regression(mean, shares, scale, np.maximum(values, 0), vectors, along, sums.count)


def fit_probes(parts: Mapping[int | None, Sums]) -> dict[int | None, Probe]:
    """Return each fold's probe, taught by all parts but it, and under None the one for test, taught by all.

    `parts` are sums by fold; what is always trained on stands under None. A fold's strength is judged on the next fold
    by a probe that neither of the two taught, so that nothing of a fold tells of it, that of test on every fold by the
    fold's own probe, and by generalised cross-validation where nobody is left to teach or to judge. A fold that nothing
    else teaches has no probe.
    """
    folds = sorted(fold for fold in parts if fold is not None)

    def without(*left_out: int) -> Regression | None:
        taught = [part for key, part in parts.items() if key not in left_out]
        return regress(added(taught)) if taught else None

    found: dict[int | None, Probe] = {}
    errors = []
    for fold, judge in zip(folds, [*folds[1:], *folds[:1]], strict=True):
        fit = without(fold)
        if fit is None:
            continue
        errors.append(fit.errors_on(parts[fold]))
        inner = without(fold, judge) if judge != fold else None
        found[fold] = fit.best(fit.generalised_errors() if inner is None else inner.errors_on(parts[judge]))
    whole = regress(added(list(parts.values())))
    return found | {None: whole.best(np.sum(errors, axis=0) if errors else whole.generalised_errors())}
