"""The matched image-text pairs of a batch, which every loss on embeddings reads, and the mask of false negatives.

False negatives are texts of one product, of one group, equal texts, and texts that are relevant to the product of the
row.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline_lib.batch import Batch, Outputs


@dataclass(frozen=True)
class Pairs:
    """Embeddings (pairs, dim) of both towers, where row i of one matches row i of the other.

    `scale` is a scalar, or (2,) for text -> image and image -> text; `ignore` (pairs, pairs) bool is True for false
    negatives.
    """

    image: Tensor
    text: Tensor
    scale: Tensor
    ignore: Tensor | None

    def negatives(self) -> Tensor:
        """Return (pairs, pairs) bool: True off the diagonal where `ignore` is False."""
        return negatives(len(self.image), self.ignore, self.image.device)


def negatives(count: int, ignore: Tensor | None, device: torch.device | str = "cpu") -> Tensor:
    """Return (count, count) bool: True off the diagonal where `ignore` (count, count) is False."""
    off_diagonal = ~torch.eye(count, dtype=torch.bool, device=device)
    return off_diagonal if ignore is None else off_diagonal & ~ignore


def false_negatives(batch: Batch) -> Tensor:
    """Return (batch, batch) bool of images against texts: True if both have the same product, group or text.

    Also True where the column's text is one of the row's `answers`.
    """
    same = [key[:, None] == key[None, :] for key in (batch.product, batch.group, batch.text)]
    equal = same[0] | same[1] | same[2]
    if batch.answers is None:
        return equal
    return equal | is_answer(batch.answers, batch.text)


def is_answer(answers: Tensor, texts: Tensor) -> Tensor:
    """Return (rows, columns) bool: True where one of a row's `answers` (rows, n) is the column's text (columns,).

    Memory is that of `answers` and of the result, without rows x n x columns comparisons.
    """
    count = len(texts)
    if not count:
        return torch.zeros(len(answers), 0, dtype=torch.bool, device=answers.device)
    ordered = texts.sort().values
    # The first place of each answer among the sorted texts; `count` stands for an answer that is not among them.
    place = torch.searchsorted(ordered, answers.contiguous())
    place = torch.where(ordered[place.clamp(max=count - 1)] == answers, place, count)
    answered = torch.zeros(len(answers), count + 1, dtype=torch.bool, device=answers.device)
    answered.scatter_(1, place, torch.ones_like(place, dtype=torch.bool))
    return answered[:, torch.searchsorted(ordered, texts)]


def pairs_of(outputs: Outputs, batch: Batch, mask_false_negatives: bool) -> Pairs:
    """Return the pairs of the products that have a text; without the mask, `ignore` is None."""
    assert outputs.image_embedding is not None and outputs.text_embedding is not None
    assert outputs.logit_scale is not None
    rows = batch.rows_with_text()
    ignore = false_negatives(batch) if mask_false_negatives else None
    if len(rows) == len(batch.product):
        # A copy of all rows, whose backward pass adds row by row, takes as long as the products of the loss.
        return Pairs(outputs.image_embedding, outputs.text_embedding, outputs.logit_scale, ignore)
    ignore = ignore[rows][:, rows] if ignore is not None else None
    return Pairs(outputs.image_embedding[rows], outputs.text_embedding[rows], outputs.logit_scale, ignore)


def per_direction(scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scales of text -> image and image -> text, from one scalar for both or from (2,) in this order.

    >>> per_direction(torch.tensor(2.0))
    (tensor(2.), tensor(2.))
    >>> per_direction(torch.tensor([2.0, 3.0]))
    (tensor(2.), tensor(3.))
    """
    assert scale.shape in ((), (2,)), scale.shape
    return (scale[0], scale[1]) if scale.ndim else (scale, scale)
