"""A linear probe in closed form: ridge regression of the classes on standardised features of the frozen trunk.

Ridge regression, unlike logistic regression, only needs sums over the products: one pass over them gives the probe of
every fold, and its error on another fold at any strength. Time is products x width^2, for any number of folds, classes
and strengths.

The strength is the one with the lowest error on folds that the probe was not fitted on. Without folds it is chosen by
generalised cross-validation (Golub, Heath and Wahba 1979), which assumes independent products: with two photos of one
product it chose far too low a strength (accuracy .43 instead of .65, on 1,746 photos of 873 exercises).
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

Matrix = NDArray[np.float32]
Real = NDArray[np.float64]
Labels = NDArray[np.int64]

STRENGTHS = np.logspace(-5, 1, 13)
FLAT = 1e-7
BLOCK = 8192


@dataclass(frozen=True)
class Sums:
    """Sums over products: their number, features, feature x feature, classes (one-hot), and feature x class."""

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
        """Return the scores (rows, classes); the largest is the prediction."""
        return np.asarray(features @ self.slope + self.offset, np.float32)


def sums_of(features: Matrix, truth: Labels, num_classes: int) -> Sums:
    """Return the sums over features (rows, width) and truth (rows,), block by block."""
    width = features.shape[1]
    squares, crossed = np.zeros((width, width)), np.zeros((width, num_classes))
    for start in range(0, len(features), BLOCK):
        block = features[start : start + BLOCK].astype(np.float64)
        present, places = np.unique(truth[start : start + BLOCK], return_inverse=True)
        # Sparse, one row for each class of the block: dense, a block of 20,000 classes is 1.3 GB.
        members = sparse.csr_array((np.ones(len(block)), (places, np.arange(len(block)))))
        squares += block.T @ block
        crossed[:, present] += (members @ block).T
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
    """A ridge regression for all strengths, in the eigenbasis of the standardised features' covariance."""

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
        """Return the probe with the lowest error; `errors` has one for each of STRENGTHS."""
        return self.probe(float(STRENGTHS[errors.argmin()]))

    def errors_on(self, held_out: Sums) -> Real:
        """Return the squared error on held-out products, summed over products and classes, for each of STRENGTHS."""
        errors = []
        for strength in STRENGTHS:
            probe = self.probe(strength)
            means = held_out.features @ probe.slope
            squared = (probe.slope * (held_out.squares @ probe.slope)).sum() + 2 * means @ probe.offset
            squared += held_out.count * (probe.offset**2).sum() + held_out.count
            errors.append(squared - 2 * ((probe.slope * held_out.crossed).sum() + probe.offset @ held_out.classes))
        return np.array(errors)

    def generalised_errors(self) -> Real:
        """Return the generalised cross-validation error on the products of the fit, for each of STRENGTHS.

        It is residual / (1 - degrees of freedom / products)^2.
        """
        energy = (self.along**2).sum(axis=1)
        shrinkage = self.values / (self.values + STRENGTHS[:, None])
        variance = float((self.shares * (1 - self.shares)).sum())
        residual = variance - (energy / (self.values + STRENGTHS[:, None]) * (2 - shrinkage)).sum(axis=1)
        left = 1 - (1 + shrinkage.sum(axis=1)) / self.count
        return np.where(left > 0, np.maximum(residual, 0) / np.maximum(left, FLAT) ** 2, np.inf)


def regress(sums: Sums) -> Regression:
    """Return the ridge regression of the classes on standardised features, from the sums over the products."""
    mean, shares = sums.features / sums.count, sums.classes / sums.count
    spread = sums.squares / sums.count - np.outer(mean, mean)
    deviation = np.sqrt(np.maximum(np.diag(spread), 0))
    # A constant feature gets the scale 0, because its deviation is 0.
    scale = np.where(deviation > FLAT, 1 / np.maximum(deviation, FLAT), 0.0)
    values, vectors = np.linalg.eigh(scale[:, None] * spread * scale)
    along = vectors.T @ (scale[:, None] * (sums.crossed / sums.count - np.outer(mean, shares)))
    return Regression(mean, shares, scale, np.maximum(values, 0), vectors, along, sums.count)


def cross_fit_probes(parts: Mapping[int | None, Sums]) -> dict[int | None, Probe]:
    """Return for each fold the probe that is fitted on all other parts, and under None the one fitted on all parts.

    `parts` are sums by fold, with products that are always trained on under None. The strength of a fold's probe is
    chosen on the next fold, by a probe fitted without both, so a fold never affects its own probe. The strength of the
    probe of all parts is chosen by the errors of the folds' probes on their folds. Without enough folds generalised
    cross-validation chooses the strength. A fold without any other part has no probe.

    Folds are computed side by side, each in one thread. Threads within a decomposition gain little, and wait for each
    other on a busy machine: for 1,664 features, at a load of 8 on two cores, 24 to 52 s with two threads, 7 to 9 s with
    one.
    """
    folds = sorted(fold for fold in parts if fold is not None)

    def without(*left_out: int) -> Regression | None:
        remaining = [part for key, part in parts.items() if key not in left_out]
        return regress(added(remaining)) if remaining else None

    def of_fold(fold: int, judge: int) -> tuple[Real, Probe] | None:
        fit = without(fold)
        if fit is None:
            return None
        inner = without(fold, judge) if judge != fold else None
        return fit.errors_on(parts[fold]), fit.best(
            fit.generalised_errors() if inner is None else inner.errors_on(parts[judge])
        )

    with threadpool_limits(1), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        total = pool.submit(regress, added(list(parts.values())))
        found = dict(zip(folds, pool.map(of_fold, folds, [*folds[1:], *folds[:1]]), strict=True))
        measured = {fold: one for fold, one in found.items() if one is not None}
        errors = [error for error, _ in measured.values()]
        chosen = total.result().best(np.sum(errors, axis=0) if errors else total.result().generalised_errors())
    return {fold: probe for fold, (_, probe) in measured.items()} | {None: chosen}
