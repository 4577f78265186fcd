"""Weighted k-nearest neighbours in the embedding space of the frozen trunk.

Weights as in Wu et al. 2018 (arXiv:1805.01978): each neighbour adds exp(cosine / 0.07) to its class. The search is
exact and runs block by block. Above MAX_KNOWN products it searches a random sample of that size, so time grows linearly
with the number of products.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.metrics.top_k import top_k

Matrix = NDArray[np.float32]
Labels = NDArray[np.int64]

NEIGHBOURS = 20
TEMPERATURE = 0.07
MAX_KNOWN = 20_000


def neighbour_scores(
    queries: Matrix, known: Matrix, truth: Labels, num_classes: int, seed: int, places: Labels
) -> Matrix:
    """Return each class's share of the neighbours' weights, (queries, classes); rows are unit vectors or zeros.

    Of neighbours that are equally near, those with the lower `places` (known,) count.
    """
    if len(known) > MAX_KNOWN:
        drawn = np.sort(np.random.default_rng(seed).choice(len(known), MAX_KNOWN, replace=False))
        known, truth, places = known[drawn], truth[drawn], places[drawn]
    nearest, cosines = top_k(queries, known, NEIGHBOURS, places)
    weights = np.exp((cosines - 1) / TEMPERATURE)
    scores = np.zeros((len(queries), num_classes), np.float32)
    np.add.at(scores, (np.repeat(np.arange(len(queries)), nearest.shape[1]), truth[nearest].ravel()), weights.ravel())
    total = scores.sum(axis=1, keepdims=True)
    return np.asarray(scores / np.where(total > 0, total, 1), np.float32)
