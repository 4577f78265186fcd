"""Weighted k-nearest neighbours in the embedding space of the frozen trunk.

Weights as in Wu et al. 2018 (arXiv:1805.01978): each neighbour adds exp(cosine / 0.07) to its class. The search is
exact and runs block by block. Above MAX_KNOWN products it searches a random sample of that size, so time grows linearly
with the number of products.
"""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Labels = NDArray[np.int64]

NEIGHBOURS = 20
TEMPERATURE = 0.07
MAX_KNOWN = 20_000
BLOCK_BYTES = 32 << 20


def neighbour_scores(queries: Matrix, known: Matrix, truth: Labels, num_classes: int, seed: int) -> Matrix:
    """Return each class's share of the neighbours' weights, (queries, classes); rows are unit vectors or zeros."""
    if len(known) > MAX_KNOWN:
        drawn = np.sort(np.random.default_rng(seed).choice(len(known), MAX_KNOWN, replace=False))
        known, truth = known[drawn], truth[drawn]
    number = min(NEIGHBOURS, len(known))
    scores = np.zeros((len(queries), num_classes), np.float32)
    step = max(1, BLOCK_BYTES // (4 * max(1, len(known))))
    for start in range(0, len(queries), step):
        cosines = queries[start : start + step] @ known.T
        nearest = np.argpartition(-cosines, number - 1, axis=1)[:, :number]
        weights = np.exp((np.take_along_axis(cosines, nearest, axis=1) - 1) / TEMPERATURE)
        rows = np.repeat(np.arange(start, start + len(cosines)), number)
        np.add.at(scores, (rows, truth[nearest].ravel()), weights.ravel())
    total = scores.sum(axis=1, keepdims=True)
    return np.asarray(scores / np.where(total > 0, total, 1), np.float32)
