"""Losses over mined negatives of the batch: the hardest, the semi-hard, or a band of ranks.

For each anchor (image against texts, text against images) with positive similarity d and negative similarities s_j:
hardest: the largest s_j (VSE++, arXiv:1707.05612). semi_hard: d - margin < s_j < d (FaceNet, Schroff et al. 2015,
arXiv:1503.03832, which reports that the hardest alone can collapse a model early in training). band: the negatives of
ranks `band_from` .. `band_to`, 1 the most similar; the top ranks of a catalogue are often unlabelled positives.
The form `contrastive` is -log softmax over the positive and the selected negatives; `margin` is the mean of
max(0, margin + s_j - d) over the selected. An anchor without a selected negative has loss 0 and counts in the mean.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.pairs import negatives, pairs_of, per_direction
from pipeline_lib.params.losses import HardNegativesChoice, HardNegativesForm, HardNegativesParams


def _in_band(similarity: Tensor, negative: Tensor, first: int, last: int) -> Tensor:
    order = similarity.masked_fill(~negative, float("-inf")).argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1) + 1
    return negative & (rank >= first) & (rank <= last)


def _hardest(similarity: Tensor, negative: Tensor, params: HardNegativesParams) -> Tensor:
    return _in_band(similarity, negative, 1, 1)


def _semi_hard(similarity: Tensor, negative: Tensor, params: HardNegativesParams) -> Tensor:
    positive = similarity.diagonal()[:, None]
    return negative & (similarity < positive) & (similarity > positive - params.margin)


def _band(similarity: Tensor, negative: Tensor, params: HardNegativesParams) -> Tensor:
    return _in_band(similarity, negative, params.band_from, params.band_to)


def _contrastive(similarity: Tensor, selected: Tensor, scale: Tensor, margin: float) -> Tensor:
    included = selected | torch.eye(len(selected), dtype=torch.bool, device=selected.device)
    logits = (scale * similarity).masked_fill(~included, float("-inf"))
    return functional.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def _margin(similarity: Tensor, selected: Tensor, scale: Tensor, margin: float) -> Tensor:
    hinge = functional.relu(margin + similarity - similarity.diagonal()[:, None]).masked_fill(~selected, 0.0)
    return (hinge.sum(dim=1) / selected.sum(dim=1).clamp(min=1)).mean()


# Name -> function(similarity, which pairs are negatives, params) -> which are selected; all (B, B), anchors in rows.
MINERS: dict[HardNegativesChoice, Callable[[Tensor, Tensor, HardNegativesParams], Tensor]] = {
    "hardest": _hardest,
    "semi_hard": _semi_hard,
    "band": _band,
}
# Name -> function(similarity, which negatives are selected, scale, margin) -> mean loss over the anchors in rows.
FORMS: dict[HardNegativesForm, Callable[[Tensor, Tensor, Tensor, float], Tensor]] = {
    "contrastive": _contrastive,
    "margin": _margin,
}


def hard_negatives(
    image: Tensor, text: Tensor, scale: Tensor, params: HardNegativesParams, ignore: Tensor | None = None
) -> Tensor:
    """Return the mean loss of both directions, for embeddings (batch, dim); 0 for an empty batch.

    Pairs in `ignore` (batch, batch) bool are never selected. `scale` as in `info_nce`; the form `margin` ignores it.
    """
    if len(image) == 0:
        return image.sum() * 0.0
    to_image, to_text = per_direction(scale)
    similarity, negative = image @ text.T, negatives(len(image), ignore, image.device)
    miner, form = MINERS[params.negatives], FORMS[params.form]
    losses = []
    for scores, candidates, one in ((similarity, negative, to_text), (similarity.T, negative.T, to_image)):
        selected = miner(scores.detach(), candidates, params)
        losses.append(form(scores, selected, one, params.margin))
    return (losses[0] + losses[1]) / 2


class HardNegatives:
    """Hard-negative loss over the products of a batch that have a text."""

    def __init__(self, params: HardNegativesParams) -> None:
        self.params = params

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        pairs = pairs_of(outputs, batch, self.params.mask_false_negatives)
        return hard_negatives(pairs.image, pairs.text, pairs.scale, self.params, pairs.ignore)
