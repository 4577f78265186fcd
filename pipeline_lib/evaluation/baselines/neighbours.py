"""Nearest neighbours in the frozen trunk's space: a product is what the products most like it are.

The weights of Wu et al. 2018 (arXiv:1805.01978): a neighbour's class gets exp(cosine / 0.07). Exact, in memory of one
block of products; beyond MAX_KNOWN neighbours are looked for among as many of chance, so that time grows with the
number of products and not with its square.
"""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Labels = NDArray[np.int64]

NEIGHBOURS = 20
TEMPERATURE = 0.07
MAX_KNOWN = 20_000
BLOCK_BYTES = 32 << 20


def neighbour_scores(asked: Matrix, known: Matrix, truth: Labels, num_classes: int, seed: int) -> Matrix:
    """Return each class's share of the neighbours' weights, (asked, classes), for unit vectors or zeros as rows."""
    if len(known) > MAX_KNOWN:
        drawn = np.sort(np.random.default_rng(seed).choice(len(known), MAX_KNOWN, replace=False))
        known, truth = known[drawn], truth[drawn]
    number = min(NEIGHBOURS, len(known))
    scores = np.zeros((len(asked), num_classes), np.float32)
    step = max(1, BLOCK_BYTES // (4 * max(1, len(known))))
    for start in range(0, len(asked), step):
        alike = asked[start : start + step] @ known.T
        nearest = np.argpartition(-alike, number - 1, axis=1)[:, :number]
        weights = np.exp((np.take_along_axis(alike, nearest, axis=1) - 1) / TEMPERATURE)
        rows = np.repeat(np.arange(start, start + len(alike)), number)
        np.add.at(scores, (rows, truth[nearest].ravel()), weights.ravel())
    total = scores.sum(axis=1, keepdims=True)
    return np.asarray(scores / np.where(total > 0, total, 1), np.float32)
