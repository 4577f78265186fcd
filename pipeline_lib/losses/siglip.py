"""SigLIP's pairwise sigmoid loss, with a learned bias (Zhai et al. 2023, arXiv:2303.15343).

With z_ij = 1 for matched pairs and -1 for negatives, and S_ij = scale * <image_i, text_j> + bias,
L = -1/B sum_ij log sigmoid(z_ij S_ij).
Pairs are independent of each other, so false negatives are left out of the sum. The paper initialises scale 10
(`model.logit_scale: 2.3026`) and bias -10, because almost all pairs of a batch are negatives.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline_lib.batch import Batch, Outputs
from pipeline_lib.losses.pairs import negatives, pairs_of, per_direction
from pipeline_lib.losses.stateful import StatefulLoss


def siglip(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, ignore: Tensor | None = None) -> Tensor:
    """Return the loss of embeddings (batch, dim); 0 for an empty batch.

    Pairs in `ignore` (batch, batch) bool are excluded. The sigmoid of a pair has no direction: with a scale (2,) for
    text -> image and image -> text, the loss is the mean of the losses under both.
    """
    if len(image) == 0:
        return image.sum() * 0.0
    similarity = image @ text.T
    sign = 2 * torch.eye(len(image), dtype=similarity.dtype, device=image.device) - 1
    included = negatives(len(image), ignore, image.device) | (sign > 0)
    scales = per_direction(scale) if scale.ndim else (scale,)
    losses = [-functional.logsigmoid(sign * (one * similarity + bias)) for one in scales]
    return torch.stack([loss.masked_fill(~included, 0.0).sum() for loss in losses]).mean() / len(image)


class SigLIP(StatefulLoss):
    """Pairwise sigmoid loss over the products of a batch that have a text; its bias is a trained parameter."""

    def __init__(self, bias: float, mask_false_negatives: bool) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(float(bias)))
        self.mask_false_negatives = mask_false_negatives

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        pairs = pairs_of(outputs, batch, self.mask_false_negatives)
        return siglip(pairs.image, pairs.text, pairs.scale, self.bias, pairs.ignore)
