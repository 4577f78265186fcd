"""InfoNCE, the contrastive loss of CLIP (Radford et al. 2021, arXiv:2103.00020; van den Oord et al. 2018).

With S_ij = scale * <image_i, text_j>, L = 1/2 mean_i [-log softmax_j(S_ij)_i] + 1/2 mean_j [-log softmax_i(S_ij)_j].
With one scale for each direction, the first term uses that of image -> text and the second that of text -> image.
False negatives (texts of one product, of one group, or equal texts) are excluded from both softmaxes.
"""

import torch
from torch import Tensor
from torch.nn import functional

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.pairs import negatives, pairs_of, per_direction


def info_nce(image: Tensor, text: Tensor, scale: Tensor, ignore: Tensor | None = None) -> Tensor:
    """Return the symmetric contrastive loss of embeddings (batch, dim); 0 for an empty batch.

    `scale` is a scalar, or (2,) for text -> image and image -> text. Pairs in `ignore` (batch, batch) bool are
    excluded, the diagonal never.
    """
    if len(image) == 0:
        return image.sum() * 0.0
    to_image, to_text = per_direction(scale)
    to_texts = to_text * image @ text.T
    to_images = to_texts.T if to_image is to_text else to_image * text @ image.T
    if ignore is not None:
        excluded = ignore & negatives(len(image), None, image.device)
        to_texts = to_texts.masked_fill(excluded, float("-inf"))
        to_images = to_images.masked_fill(excluded.T, float("-inf"))
    target = torch.arange(len(image), device=image.device)
    return (functional.cross_entropy(to_texts, target) + functional.cross_entropy(to_images, target)) / 2


class InfoNCE:
    """InfoNCE over the products of a batch that have a text."""

    def __init__(self, mask_false_negatives: bool) -> None:
        self.mask_false_negatives = mask_false_negatives

    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        pairs = pairs_of(outputs, batch, self.mask_false_negatives)
        return info_nce(pairs.image, pairs.text, pairs.scale, pairs.ignore)
