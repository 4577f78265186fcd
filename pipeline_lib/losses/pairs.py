"""The matched pairs of a batch, as every loss on embeddings sees them: products with a text, and who is no negative.

Texts of one product, of one group, or equal texts are false negatives of each other; users of these systems report
them again and again. `logit_scale` is one number, or one for each direction.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline_lib.batch import Batch, Outputs


@dataclass(frozen=True)
class Pairs:
    """Embeddings (pairs, dim) of both towers, row i matching row i, and what of the square matrix is a negative.

    `scale` is a scalar or (2,); `ignore` (pairs, pairs) bool is True where a pair is no true negative.
    """

    image: Tensor
    text: Tensor
    scale: Tensor
    ignore: Tensor | None

    def negatives(self) -> Tensor:
        """Return (pairs, pairs) bool: True off the diagonal where nothing is ignored."""
        return negatives(len(self.image), self.ignore, self.image.device)


def negatives(count: int, ignore: Tensor | None, device: torch.device | str = "cpu") -> Tensor:
    """Return (count, count) bool: True off the diagonal where `ignore` (count, count) is not."""
    off_diagonal = ~torch.eye(count, dtype=torch.bool, device=device)
    return off_diagonal if ignore is None else off_diagonal & ~ignore


def false_negatives(batch: Batch) -> Tensor:
    """Return (batch, batch) bool: True where row and column share product, group or text, or the row answers it."""
    same = [key[:, None] == key[None, :] for key in (batch.product, batch.group, batch.text)]
    found = same[0] | same[1] | same[2]
    if batch.answers is None:
        return found
    return found | (batch.answers[:, :, None] == batch.text).any(1)


def pairs_of(outputs: Outputs, batch: Batch, mask_false_negatives: bool) -> Pairs:
    """Return the pairs of the products that have a text."""
    assert outputs.image_embedding is not None and outputs.text_embedding is not None
    assert outputs.logit_scale is not None
    keep = batch.rows_with_text()
    ignore = false_negatives(batch)[keep][:, keep] if mask_false_negatives else None
    return Pairs(outputs.image_embedding[keep], outputs.text_embedding[keep], outputs.logit_scale, ignore)


def per_direction(scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scales of text -> image and of image -> text: a scalar serves both, (2,) holds them in this order.

    >>> per_direction(torch.tensor(2.0))
    (tensor(2.), tensor(2.))
    >>> per_direction(torch.tensor([2.0, 3.0]))
    (tensor(2.), tensor(3.))
    """
    assert scale.shape in ((), (2,)), scale.shape
    return (scale[0], scale[1]) if scale.ndim else (scale, scale)
