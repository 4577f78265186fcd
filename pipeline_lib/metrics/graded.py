"""Figures of one query from graded products alone: expected nDCG of a ranking with ties, and the share of right pairs.

Products without a grade are left out of the ranking before (the condensed list of Sakai 2007, "Alternatives to Bpref"),
so that a new model is not punished for answers that nobody has seen yet.
"""

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def expected_ndcg(scores: Values, gains: Values, k: int) -> float:
    """Return the mean nDCG at k over all orders of equal scores; `scores` and `gains` are (products,).

    Each place in a block of equal scores has the mean gain of the block (McSherry and Najork 2008, "Computing
    information retrieval performance measures efficiently in the presence of tied scores"). The discount of place i,
    from 1, is 1 / log2(i + 1) (Järvelin and Kekäläinen 2002). Raises ValueError if no gain is above 0.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, discounts = gains[order], _discounts(len(gains), k)
    starts = np.flatnonzero(np.concatenate([[True], np.diff(scores[order]) != 0]))
    sizes = np.diff(np.append(starts, len(scores)))
    placed = np.repeat(np.add.reduceat(ranked, starts) / sizes, sizes)
    return float(placed @ discounts) / _ideal(gains, discounts)


def chance_ndcg(gains: Values, k: int) -> float:
    """Return the mean nDCG at k over all orders of the products; ValueError if no gain is above 0."""
    discounts = _discounts(len(gains), k)
    return float(gains.mean() * discounts.sum()) / _ideal(gains, discounts)


def preference(scores: Values, right: NDArray[np.bool_]) -> float:
    """Return the share of (right, wrong) pairs whose right product scores higher, equal scores counting one half.

    Both arrays are (products,). Raises ValueError unless there is a right and a wrong product.
    """
    good, bad = scores[right], np.sort(scores[~right])
    if not len(good) or not len(bad):
        raise ValueError(f"{len(good)} right and {len(bad)} wrong products make no pair")
    below, up_to = (np.searchsorted(bad, good, side) for side in ("left", "right"))
    return float((below + up_to).mean()) / (2 * len(bad))


def _discounts(count: int, k: int) -> Values:
    places = np.arange(1, count + 1)
    return np.where(places <= k, 1 / np.log2(places + 1), 0.0)


def _ideal(gains: Values, discounts: Values) -> float:
    best = float(np.sort(gains)[::-1] @ discounts)
    if best <= 0:
        raise ValueError("nDCG needs a product with a gain above 0")
    return best
