"""Hard negatives: for each product's text the most similar photos of other products, without any right answer.

The search is exact. Embeddings are rotated so that their first coordinates hold most of their length. These give an
upper bound of a similarity, a.b <= a'.b' + |a''| |b''| (Cauchy-Schwarz), and only pairs whose bound exceeds the worst
negative found so far are computed in full. So the matrix product has fewer dimensions, and nothing is sorted.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.training.right_answers import RightAnswers

NONE = -1
FIRST_COLUMNS = 1024  # compared in full, for a first bound
PAIRS_AT_ONCE = 1024  # their embeddings fit into a processor's cache
# Share of a block's pairs above which one matrix product is faster than single pairs.
DENSE = 1 / 16
SAMPLE = 4096
# The coordinates after the first ones add at most this share of the spread of similarities to a bound.
SLACK = 0.15


@dataclass(frozen=True)
class Rotated:
    """Rotated embeddings (n, dim), and their first coordinates with the length of the others (n, coordinates + 1)."""

    full: Tensor
    bound: Tensor


def hard_negatives(
    text: Tensor, image: Tensor, right: RightAnswers, count: int, block: int = 4096, rows: int = 1024
) -> tuple[Tensor, Tensor]:
    """Return numbers and similarities (products, count) of the images most similar to each text, best first.

    text and image are (products, dim). Numbers are -1 and similarities -inf where a text has fewer negatives. At most
    `rows` x `block` similarities are in memory.
    """
    texts, images = _rotated(text, image)
    numbers, similarities = [], []
    for start in range(0, len(text), rows):
        found = _Best(texts, images, slice(start, min(start + rows, len(text))), count)
        for columns in _column_blocks(len(image), block):
            found.add(columns, right)
        numbers.append(found.number.cpu())
        similarities.append(found.similarity.cpu())
    if not numbers:
        return torch.empty((0, count), dtype=torch.long), torch.empty((0, count))
    return torch.cat(numbers), torch.cat(similarities)


def _column_blocks(count: int, block: int) -> Iterator[slice]:
    """Yield blocks that grow: the bound of later ones is better."""
    start, size = 0, min(FIRST_COLUMNS, block)
    while start < count:
        yield slice(start, min(start + size, count))
        start, size = start + size, min(start + size, block)


class _Best:
    """The best negatives so far of a block of texts."""

    def __init__(self, texts: Rotated, images: Rotated, rows: slice, count: int) -> None:
        self.texts, self.images, self.rows = texts, images, rows
        size, device = rows.stop - rows.start, texts.full.device
        self.similarity = torch.full((size, count), -torch.inf, device=device)
        self.number = torch.full((size, count), NONE, device=device)
        # Rounding of a bound and of a similarity.
        norm = texts.full[rows].norm(dim=1).max() * images.full.norm(dim=1).max() if size else torch.zeros(())
        self.margin = 1e-5 * norm

    def add(self, columns: slice, right: RightAnswers) -> None:
        """Compare the texts with some more images."""
        excluded = tuple(torch.from_numpy(part).to(self.number.device) for part in right.pairs(self.rows, columns))
        if columns.start:
            bound = self.texts.bound[self.rows] @ self.images.bound[columns].T
            bound[excluded] = -torch.inf
            row, column = _places(bound > self.similarity[:, -1:] - self.margin)
            if len(row) <= DENSE * bound.numel():
                self._merge(*_padded(row, column + columns.start, self._pairs(row, column + columns.start), len(bound)))
                return
        similarity = self.texts.full[self.rows] @ self.images.full[columns].T
        similarity[excluded] = -torch.inf
        best, position = similarity.topk(min(self.number.shape[1], similarity.shape[1]), dim=1)
        self._merge(best, position + columns.start)

    def _pairs(self, row: Tensor, column: Tensor) -> Tensor:
        """Return the similarities of single pairs, in buffers that stay in the cache."""
        texts, images = self.texts.full[self.rows], self.images.full
        text, image = (texts.new_empty(PAIRS_AT_ONCE, texts.shape[1]) for _ in range(2))
        result = texts.new_empty(len(row))
        for start in range(0, len(row), PAIRS_AT_ONCE):
            part = slice(start, min(start + PAIRS_AT_ONCE, len(row)))
            size = part.stop - start
            torch.index_select(texts, 0, row[part], out=text[:size])
            torch.index_select(images, 0, column[part], out=image[:size])
            torch.sum(text[:size].mul_(image[:size]), dim=1, out=result[part])
        return result

    def _merge(self, similarity: Tensor, number: Tensor) -> None:
        similarity, number = torch.cat([self.similarity, similarity], 1), torch.cat([self.number, number], 1)
        self.similarity, position = similarity.topk(self.number.shape[1], dim=1)
        self.number = number.gather(1, position).masked_fill(self.similarity == -torch.inf, NONE)


def _places(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows and columns where a mask, which is almost everywhere False, is True, in the order of rows."""
    if mask.shape[1] % 8:
        row, column = mask.nonzero().unbind(1)
        return row, column
    # Eight values at a time.
    row, word = mask.view(torch.int64).nonzero().unbind(1)
    columns = word[:, None] * 8 + torch.arange(8, device=mask.device)
    chosen = mask[row[:, None], columns]
    return row[:, None].expand_as(columns)[chosen], columns[chosen]


def _padded(row: Tensor, column: Tensor, similarity: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return similarities and columns of pairs, sorted by row, as matrices (size, most pairs of a row)."""
    counts = torch.bincount(row, minlength=size)
    place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
    shape = (size, int(counts.max()) if len(row) else 0)
    values, columns = similarity.new_full(shape, -torch.inf), column.new_full(shape, NONE)
    values[row, place], columns[row, place] = similarity, column
    return values, columns


def _rotated(text: Tensor, image: Tensor) -> tuple[Rotated, Rotated]:
    """Rotate both to the principal axes of their embeddings, and choose how many of the first ones give the bounds."""
    dim = text.shape[1]
    if not len(text) or not len(image):
        return Rotated(text, text), Rotated(image, image)
    drawn = np.random.default_rng(0)
    samples = [value[_sample(drawn, len(value)).to(value.device)] for value in (text, image)]
    moments = sum((part.T @ part for part in samples), torch.zeros(dim, dim, device=text.device))
    axes = torch.linalg.eigh(moments)[1].flip(1)
    one, other = (part @ axes for part in samples)
    spread = (one[:512] @ other[:512].T).std(correction=0)
    first = dim
    for coordinates in range(16, dim // 2 + 1, 16):
        if one[:, coordinates:].norm(dim=1).mean() * other[:, coordinates:].norm(dim=1).mean() <= SLACK * spread:
            first = coordinates
            break
    return _split(text @ axes, first), _split(image @ axes, first)


def _split(value: Tensor, first: int) -> Rotated:
    return Rotated(value, torch.cat([value[:, :first], value[:, first:].norm(dim=1, keepdim=True)], 1))


def _sample(drawn: np.random.Generator, count: int) -> Tensor:
    rows: NDArray[np.int64] = drawn.choice(count, min(count, SAMPLE), replace=False)
    return torch.from_numpy(rows)
