"""Losses over chosen negatives of the batch: the hardest, the semi-hard, or a band of ranks.

For each anchor (image against texts, text against images) with positive similarity d and negatives s_j:
hardest = the largest s_j (VSE++, arXiv:1707.05612); semi_hard = d - margin < s_j < d (FaceNet, Schroff et al. 2015,
arXiv:1503.03832, which reports that the hardest alone can collapse a young model); band = the negatives of ranks
`band_from` .. `band_to`, 1 the most similar: beyond the first few, which in a catalogue are often unlabelled positives.
The form `contrastive` is -log softmax over the positive and the chosen; `margin` is the mean of
max(0, margin + s_j - d) over the chosen. An anchor with none chosen costs 0 and counts in the mean over anchors.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.pairs import negatives, pairs_of, per_direction
from pipeline_lib.params.losses import HardNegativesChoice, HardNegativesForm, HardNegativesParams


def _in_band(similarity: Tensor, counted: Tensor, first: int, last: int) -> Tensor:
    order = similarity.masked_fill(~counted, float("-inf")).argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1) + 1
    return counted & (rank >= first) & (rank <= last)


def _hardest(similarity: Tensor, counted: Tensor, params: HardNegativesParams) -> Tensor:
    return _in_band(similarity, counted, 1, 1)


def _semi_hard(similarity: Tensor, counted: Tensor, params: HardNegativesParams) -> Tensor:
    positive = similarity.diagonal()[:, None]
    return counted & (similarity < positive) & (similarity > positive - params.margin)


def _band(similarity: Tensor, counted: Tensor, params: HardNegativesParams) -> Tensor:
    return _in_band(similarity, counted, params.band_from, params.band_to)


def _contrastive(similarity: Tensor, chosen: Tensor, scale: Tensor, margin: float) -> Tensor:
    kept = chosen | torch.eye(len(chosen), dtype=torch.bool, device=chosen.device)
    logits = (scale * similarity).masked_fill(~kept, float("-inf"))
    return functional.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def _margin(similarity: Tensor, chosen: Tensor, scale: Tensor, margin: float) -> Tensor:
    cost = functional.relu(margin + similarity - similarity.diagonal()[:, None]).masked_fill(~chosen, 0.0)
    return (cost.sum(dim=1) / chosen.sum(dim=1).clamp(min=1)).mean()


# Name -> function(similarity of anchors in rows, which pairs may be chosen, params) -> which are chosen; all (B, B).
CHOICES: dict[HardNegativesChoice, Callable[[Tensor, Tensor, HardNegativesParams], Tensor]] = {
    "hardest": _hardest,
    "semi_hard": _semi_hard,
    "band": _band,
}
# Name -> function(similarity, which negatives are chosen, scale, margin) -> mean cost of the anchors in rows.
FORMS: dict[HardNegativesForm, Callable[[Tensor, Tensor, Tensor, float], Tensor]] = {
    "contrastive": _contrastive,
    "margin": _margin,
}


def hard_negatives(
    image: Tensor, text: Tensor, scale: Tensor, params: HardNegativesParams, ignore: Tensor | None = None
) -> Tensor:
    """Return the mean over both directions, for embeddings (batch, dim); `ignore` (batch, batch) is never chosen.

    `scale` as in `info_nce`; the form `margin` does not use it. An empty batch costs 0.
    """
    if len(image) == 0:
        return image.sum() * 0.0
    to_image, to_text = per_direction(scale)
    similarity, counted = image @ text.T, negatives(len(image), ignore, image.device)
    choose, form = CHOICES[params.negatives], FORMS[params.form]
    costs = []
    for scores, allowed, one in ((similarity, counted, to_text), (similarity.T, counted.T, to_image)):
        chosen = choose(scores.detach(), allowed, params)
        costs.append(form(scores, chosen, one, params.margin))
    return (costs[0] + costs[1]) / 2


class HardNegatives:
    """Hard negatives among the products of a batch that have a text."""

    def __init__(self, params: HardNegativesParams) -> None:
        self.params = params

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        pairs = pairs_of(outputs, batch, self.params.mask_false_negatives)
        return hard_negatives(pairs.image, pairs.text, pairs.scale, self.params, pairs.ignore)
