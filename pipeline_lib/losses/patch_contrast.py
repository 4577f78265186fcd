"""Patch contrast: the target of a query among the batch's targets, by the patches that the query attends to.

With c_ijk = <query_i, patch_jk> and w_ijk = softmax_k(scale * c_ijk): p_ij = scale * sum_k w_ijk c_ijk, and
L = mean_i -log [exp(p_ii) / sum_j exp(p_ij)]. This is PACL (Mukhoti et al. 2023, arXiv:2212.04994) with the composed
query as the text. PACL's softmax has no scale; over bare cosines it would be nearly uniform.
"""

from torch import Tensor

from pipeline_lib.losses.composed_pairs import ComposedPairs, target_cross_entropy


def patch_similarity(queries: Tensor, patches: Tensor, scale: Tensor) -> Tensor:
    """Return (queries, targets) of queries (queries, dim) and patches (targets, n, dim): attention-weighted cosines."""
    count, number, dim = patches.shape
    cosines = (queries @ patches.reshape(count * number, dim).T).view(len(queries), count, number)
    weights = (scale * cosines).softmax(dim=-1)
    return (weights * cosines).sum(dim=-1)


def patch_contrast(pairs: ComposedPairs) -> Tensor:
    """Return the loss, a scalar; 0 for an empty batch."""
    similarities = patch_similarity(pairs.query, pairs.extra["patches"], pairs.scale)
    return target_cross_entropy(pairs.scale * similarities, pairs.positives)
