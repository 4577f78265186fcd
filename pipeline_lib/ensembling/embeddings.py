"""Fuses embeddings: averages the scales of one model, and concatenates the models of several folds.

Scales of one model share an embedding space, so their mean, L2-normalised, is an ordinary embedding. For a model that
compares by dot product the length has a meaning, so its mean is not normalised. Folds have unrelated embedding spaces.
Their vectors are concatenated and divided by the square root of the number of folds, so the dot product of two fused
vectors is the mean of the folds' similarities. This needs no score matrix.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.stores.store import FeatureStore

Matrix = NDArray[np.float32]


def fuse_scales(stores: Sequence[FeatureStore], ids: Sequence[str]) -> Matrix:
    """Return the mean over the stores of the rows of `ids`, (ids, dim), L2-normalised unless compared by dot product.

    Raises ValueError if the stores differ in model or width, or if one of them lacks an id.
    """
    first = stores[0]
    for store in stores[1:]:
        if (store.header.encoder, store.header.dim) != (first.header.encoder, first.header.dim):
            raise ValueError(
                f"{store.folder}: embedded by {store.header.encoder} ({store.header.dim} wide), but {first.folder} by "
                f"{first.header.encoder} ({first.header.dim} wide); scales of one fold share a model: run `dvc repro`"
            )
    total = first.rows(ids)
    for store in stores[1:]:
        total += store.rows(ids)
    if first.header.similarity == "dot":
        total /= np.float32(len(stores))
    else:
        total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return total


def fuse_folds(matrices: Sequence[Matrix]) -> Matrix:
    """Concatenate the folds' matrices (ids, dim) to (ids, folds x dim); a dot product is then the mean similarity."""
    fused = np.concatenate(matrices, axis=1, dtype=np.float32)
    fused /= np.float32(np.sqrt(len(matrices)))
    return fused


def fused_identity(stores: Sequence[FeatureStore]) -> tuple[str, str]:
    """Return the fused encoder and preprocessing fingerprints: the distinct ones of the stores, joined by `+`."""
    encoders = dict.fromkeys(store.header.encoder for store in stores)
    preprocessings = dict.fromkeys(store.header.preprocessing for store in stores)
    return "+".join(encoders), "+".join(preprocessings)
