"""Fuses embeddings: the scales of one model into one vector, the models of several folds into one dot product.

Scales of one model share a space, so their mean, brought back to length 1, is an embedding like any other (where the
model compares by dot product, lengths have a meaning and the mean keeps its own). Spaces of
different folds have nothing in common: their vectors are put side by side and divided by the root of their number,
so that the dot product of two fused vectors is the mean of the folds' similarities. No score matrix is ever held.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.stores.store import FeatureStore

Matrix = NDArray[np.float32]


def fuse_scales(stores: Sequence[FeatureStore], ids: Sequence[str]) -> Matrix:
    """Return the mean over the stores of the rows of `ids`, L2-normalised unless they compare by dot, (ids, dim).

    Raises ValueError for stores of several models or widths, and for an id that one of them lacks.
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
    """Return the folds' matrices (ids, dim) side by side, (ids, folds x dim): a dot product is the mean similarity."""
    fused = np.concatenate(matrices, axis=1, dtype=np.float32)
    fused /= np.float32(np.sqrt(len(matrices)))
    return fused


def fused_identity(stores: Sequence[FeatureStore]) -> tuple[str, str]:
    """Return encoder and preprocessing of what the stores fuse into: the distinct ones joined by `+`, in order."""
    encoders = dict.fromkeys(store.header.encoder for store in stores)
    preprocessings = dict.fromkeys(store.header.preprocessing for store in stores)
    return "+".join(encoders), "+".join(preprocessings)
