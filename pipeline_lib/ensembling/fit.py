"""Fits on out-of-fold predictions: a weight for each scale and each external experiment, and a temperature.

An out-of-fold prediction comes from one fold's model at every scale. It gives weights for scales, but none for folds,
so all folds of a test prediction weigh the same. Measuring on the products of the fit would be too optimistic, so each
fold is fused with the fit of the other folds, and test with the fit of all folds. Test averages more models than the
temperature was fitted for, so its probabilities may be slightly underconfident.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline_lib.ensembling.means import MEANS, Labels, Matrix, Weights
from pipeline_lib.ensembling.temperature import fit_temperature
from pipeline_lib.params.ensemble import EnsembleParams


@dataclass(frozen=True)
class HeldOut:
    """Labelled products of one held-out fold: members (scales, then external; rows, classes) and truth (rows,)."""

    fold: int
    members: Matrix
    truth: Labels
    num_external: int = 0


@dataclass(frozen=True)
class Fitted:
    """Weights of scales, then of external experiments (None = equal), temperature, number of products of the fit."""

    weights: Weights | None = None
    temperature: float = 1.0
    num_products: int = 0


def needs_fit(params: EnsembleParams) -> bool:
    """Return whether weights or temperature are fitted."""
    return "fitted" in (params.weights, params.temperature)


def equal_shares(num_own: int, num_external: int) -> Weights:
    """Return weights that sum to 1: one share for this run's members together, one for each external experiment."""
    share = 1 / (1 + num_external)
    return np.array([share / num_own] * num_own + [share] * num_external)


def cross_fitted(held_out: Sequence[HeldOut], params: EnsembleParams) -> dict[int | None, Fitted]:
    """Return the fit for each fold, from the other folds, and under the key None the fit for test, from all folds.

    Without labelled products in other folds, as with a single fold, the fit is the default one.
    """
    fits: dict[int | None, Fitted] = {
        own.fold: fit([part for part in held_out if part.fold != own.fold], params) for own in held_out
    }
    return fits | {None: fit(held_out, params)}


def fit(held_out: Sequence[HeldOut], params: EnsembleParams) -> Fitted:
    """Return the weights, and the temperature of their fused predictions, that minimise log-loss on the products."""
    parts = [part for part in held_out if len(part.truth)]
    if not parts or not needs_fit(params):
        return Fitted()
    members = np.concatenate([part.members for part in parts], axis=1)
    truth = np.concatenate([part.truth for part in parts])
    mean = MEANS[params.mean]
    weights = mean.fit(members, truth) if params.weights == "fitted" else None
    temperature = 1.0
    if params.temperature == "fitted":
        external = parts[0].num_external
        shares = equal_shares(len(members) - external, external) if weights is None and external else weights
        temperature = fit_temperature(mean.fuse(members, shares), truth)
    return Fitted(weights, temperature, len(truth))
