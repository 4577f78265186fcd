"""Prompt contrast: the composed contrast with the sentence and the prompt tokens as the query (`rtc` of SPRC).

L = mean_i -log [exp(r_ii) / sum_j exp(r_ij)], r_ij = scale * max_k <prompt query_i, target_jk> (Xu et al. 2024, ICLR).
The prompt query does not see the reference's image, so the prompt tokens must say what the sentence leaves open.
"""

from torch import Tensor

from pipeline_lib.losses.composed_pairs import ComposedPairs, similarity, target_cross_entropy


def prompt_contrast(pairs: ComposedPairs) -> Tensor:
    """Return the loss, a scalar; 0 for an empty batch."""
    return target_cross_entropy(pairs.scale * similarity(pairs.extra["prompt_query"], pairs.targets), pairs.positives)
