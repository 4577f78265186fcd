"""InfoNCE, the contrastive loss of CLIP (Radford et al. 2021, arXiv:2103.00020; van den Oord et al. 2018).

With S_ij = scale * <image_i, text_j>, L = 1/2 mean_i [-log softmax_j(S_ij)_i] + 1/2 mean_j [-log softmax_i(S_ij)_j].
With one scale for each direction the first term takes that of image -> text, the second that of text -> image.
A pair that is no true negative (texts of one product, of one group, or equal texts) is left out of both softmaxes.
"""

import torch
from torch import Tensor
from torch.nn import functional

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.pairs import negatives, pairs_of, per_direction


def info_nce(image: Tensor, text: Tensor, scale: Tensor, ignore: Tensor | None = None) -> Tensor:
    """Return the symmetric contrastive loss of embeddings (batch, dim); `ignore` (batch, batch) bool leaves pairs out.

    `scale` is a scalar, or (2,) for text -> image and image -> text. The diagonal is always kept. An empty batch
    costs 0.
    """
    if len(image) == 0:
        return image.sum() * 0.0
    to_image, to_text = per_direction(scale)
    logits = to_text * image @ text.T
    back = logits.T if to_image is to_text else to_image * text @ image.T
    if ignore is not None:
        left_out = ignore & negatives(len(image), None, image.device)
        logits = logits.masked_fill(left_out, float("-inf"))
        back = back.masked_fill(left_out.T, float("-inf"))
    target = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(back, target)) / 2


class InfoNCE:
    """InfoNCE over the products of a batch that have a text."""

    def __init__(self, mask_false_negatives: bool) -> None:
        self.mask_false_negatives = mask_false_negatives

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        pairs = pairs_of(outputs, batch, self.mask_false_negatives)
        return info_nce(pairs.image, pairs.text, pairs.scale, pairs.ignore)
