"""InfoNCE, the contrastive loss of CLIP (Radford et al. 2021, arXiv:2103.00020; van den Oord et al. 2018).

With S_ij = scale * <image_i, text_j>, L = 1/2 mean_i [-log softmax_j(S_ij)_i] + 1/2 mean_j [-log softmax_i(S_ij)_j].
A pair that is no true negative (texts of one product, of one group, or equal texts) is left out of both softmaxes:
users of these systems report such false negatives again and again.
"""

import torch
from torch import Tensor
from torch.nn import functional

from pipeline_lib.records import Batch, Outputs


def info_nce(image: Tensor, text: Tensor, scale: Tensor, ignore: Tensor | None = None) -> Tensor:
    """Return the symmetric contrastive loss of embeddings (batch, dim); `ignore` (batch, batch) bool leaves pairs out.

    The diagonal is always kept. An empty batch costs 0.
    """
    if len(image) == 0:
        return image.sum() * 0.0
    logits = scale * image @ text.T
    if ignore is not None:
        off_diagonal = ~torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        logits = logits.masked_fill(ignore & off_diagonal, float("-inf"))
    target = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def false_negatives(batch: Batch) -> Tensor:
    """Return (batch, batch) bool: True where row and column share product, group or text, or the row answers it."""
    same = [key[:, None] == key[None, :] for key in (batch.product, batch.group, batch.text)]
    found = same[0] | same[1] | same[2]
    return found if batch.answered is None else found | batch.answered


class InfoNCE:
    """InfoNCE over the products of a batch that have a text."""

    def __init__(self, mask_false_negatives: bool) -> None:
        self.mask_false_negatives = mask_false_negatives

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        assert outputs.image_embedding is not None and outputs.text_embedding is not None
        assert outputs.logit_scale is not None
        keep = batch.has_text
        ignore = false_negatives(batch)[keep][:, keep] if self.mask_false_negatives else None
        return info_nce(outputs.image_embedding[keep], outputs.text_embedding[keep], outputs.logit_scale, ignore)
