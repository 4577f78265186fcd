"""Query alignment: the mean of the Q-Former's output tokens follows the mean of the prompt tokens (`align` of SPRC).

L = mean over rows and channels of (mean_k Z_ik - mean_k P_k)^2, Z the output of the query tokens for the reference and
its sentence, P the prompt tokens, which this loss does not train (Xu et al. 2024, ICLR).
"""

from torch import Tensor

from pipeline_lib.losses.composed_pairs import ComposedPairs


def query_alignment(pairs: ComposedPairs) -> Tensor:
    """Return the loss, a scalar; 0 for an empty batch."""
    mean, prompt = pairs.extra["query_mean"], pairs.extra["prompt_mean"].detach()
    return (mean - prompt).pow(2).sum() / max(1, mean.numel())
