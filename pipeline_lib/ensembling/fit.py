"""What is fitted on out-of-fold predictions: a weight for each scale and other experiment, and a temperature.

A product's out-of-fold prediction is one model's, at every scale, so nothing there tells the folds apart: scales get
weights, and the folds of a test prediction equal ones. What is fitted on products and then measured on them flatters,
so each fold's own predictions are fused by what the other folds say, and only test by what all say. Test averages more
models than the temperature was fitted for, each fold alone: it may come out a little too unsure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline_lib.ensembling.means import MEANS, Labels, Matrix, Weights
from pipeline_lib.ensembling.temperature import fit_temperature
from pipeline_lib.params.ensemble import EnsembleParams


@dataclass(frozen=True)
class HeldOut:
    """Labelled products of one held-out fold: members (scales, then others; rows, classes) and truth (rows,)."""

    fold: int
    members: Matrix
    truth: Labels
    num_others: int = 0


@dataclass(frozen=True)
class Fitted:
    """Weights of scales, then of others (None = equal), the temperature, and on how many products they were fitted."""

    weights: Weights | None = None
    temperature: float = 1.0
    num_products: int = 0


def wants_fit(params: EnsembleParams) -> bool:
    """Return whether anything at all is fitted."""
    return "fitted" in (params.weights, params.temperature)


def equal_shares(num_own: int, num_others: int) -> Weights:
    """Return weights under which a run's own members weigh together what each other experiment does; the sum is 1."""
    share = 1 / (1 + num_others)
    return np.array([share / num_own] * num_own + [share] * num_others)


def cross_fitted(held_out: Sequence[HeldOut], params: EnsembleParams) -> dict[int | None, Fitted]:
    """Return what each fold's predictions are fused by, fitted on the other folds, and under None what test's are.

    Where there is no labelled product to fit on, a single fold's own, say, nothing is fitted.
    """
    found: dict[int | None, Fitted] = {
        own.fold: fit([part for part in held_out if part.fold != own.fold], params) for own in held_out
    }
    return found | {None: fit(held_out, params)}


def fit(held_out: Sequence[HeldOut], params: EnsembleParams) -> Fitted:
    """Return weights, and a temperature of what they fuse, of least log-loss over all the given products."""
    parts = [part for part in held_out if len(part.truth)]
    if not parts or not wants_fit(params):
        return Fitted()
    members = np.concatenate([part.members for part in parts], axis=1)
    truth = np.concatenate([part.truth for part in parts])
    mean = MEANS[params.mean]
    weights = mean.fit(members, truth) if params.weights == "fitted" else None
    temperature = 1.0
    if params.temperature == "fitted":
        others = parts[0].num_others
        by = equal_shares(len(members) - others, others) if weights is None and others else weights
        temperature = fit_temperature(mean.fuse(members, by), truth)
    return Fitted(weights, temperature, len(truth))
