"""Composed contrast: the target of a query among the batch's targets (`itc` of SPRC, Xu et al. 2024, ICLR).

L = mean_i -log [exp(s_ii) / sum_j exp(s_ij)], s_ij = scale * max_k <query_i, target_jk>, over the targets j that do not
answer query i, and j = i. One direction only: a target alone does not say which change was asked for.
"""

from torch import Tensor

from pipeline_lib.losses.composed_pairs import ComposedPairs, similarity, target_cross_entropy


def composed_contrast(pairs: ComposedPairs) -> Tensor:
    """Return the loss, a scalar; 0 for an empty batch."""
    return target_cross_entropy(pairs.scale * similarity(pairs.query, pairs.targets), pairs.positives)
