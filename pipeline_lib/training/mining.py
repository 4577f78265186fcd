"""Hard negatives: for each product's text the most similar photos of other products, without any right answer.

The search is exact. Embeddings are rotated so that their first coordinates hold most of their length. These give an
upper bound of a similarity, a.b <= a'.b' + |a''| |b''| (Cauchy-Schwarz), and only pairs whose bound reaches the worst
negative found so far are computed in full. So the matrix product has fewer dimensions, in bf16 where the device has it,
and nothing is sorted. Products are put in the order of a k-d tree, and a block of texts starts with the photos of its
own bucket and goes on with those of its neighbours: its worst negatives are soon good ones.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline_lib.execution.device import supports_bf16
from pipeline_lib.metrics.pair_products import products_of_pairs, rounded
from pipeline_lib.training.right_answers import RightAnswers

NONE = -1
# Columns whose bounds and their comparison stay in the cache.
TILE = 1024
# Share of a block's pairs above which one matrix product is faster than single pairs.
DENSE = 1 / 16
SAMPLE = 4096
# The coordinates after the first ones add at most this share of the spread of similarities to a bound.
SLACK = 0.2


@dataclass
class Rotated:
    """Rotated embeddings (n, dim) in float32, and the factors of their bounds (n, coordinates + 3); see `_factors`."""

    full: Tensor
    bound: Tensor

    def of(self, order: Tensor) -> "Rotated":
        """Return them in another order."""
        return Rotated(self.full[order], self.bound[order])

    @cached_property
    def longest(self) -> float:
        """Length of the longest embedding."""
        return float(self.full.norm(dim=1).max())


def hard_negatives(
    text: Tensor, image: Tensor, right: RightAnswers, count: int, block: int = 4096, rows: int = 1024
) -> tuple[Tensor, Tensor]:
    """Return numbers and similarities (products, count) of the images most similar to each text, best first.

    text and image are (products, dim). Numbers are -1 and similarities -inf where a text has fewer negatives. At most
    `rows` x `block` similarities are in memory.
    """
    numbers, similarities = torch.full((len(text), count), NONE), torch.full((len(text), count), -torch.inf)
    if not len(text):
        return numbers, similarities
    rotated, other = _rotated(text, image)
    order, starts = _buckets(other.full, rows)
    texts, images, right = rotated.of(order), other.of(order), right.of(order.cpu().numpy())
    order = order.cpu()
    for bucket in range(len(starts) - 1):
        found = _Best(texts, images, slice(starts[bucket], starts[bucket + 1]), count)
        for columns in _outwards(starts, bucket, block):
            found.add(columns, right)
        place, number = order[found.rows], found.number.cpu()
        numbers[place] = torch.where(number >= 0, order[number], NONE)
        similarities[place] = found.similarity.cpu()
    return numbers, similarities


def _buckets(value: Tensor, most: int) -> tuple[Tensor, list[int]]:
    """Return an order of (n, dim) rows in buckets of at most `most`, the leaves of a k-d tree, and where each starts.

    There are 2^levels buckets; the last number is n.
    """
    levels = max(0, math.ceil(math.log2(len(value) / most)))
    parts = [torch.arange(len(value), device=value.device)]
    for level in range(levels):
        axis = value[:, level % value.shape[1]]
        parts = [half for part in parts for half in part[axis[part].argsort(stable=True)].tensor_split(2)]
    return torch.cat(parts), np.cumsum([0, *map(len, parts)]).tolist()


def _outwards(starts: Sequence[int], bucket: int, most: int) -> Iterator[slice]:
    """Yield the columns of a bucket, of its sibling, of its parent's sibling and so on, at most `most` at a time."""
    parts = [(bucket, bucket + 1)]
    for height in range((len(starts) - 1).bit_length() - 1):
        first = ((bucket >> height) ^ 1) << height
        parts.append((first, first + (1 << height)))
    for first, last in parts:
        for start in range(starts[first], starts[last], most):
            yield slice(start, min(start + most, starts[last]))


class _Best:
    """The best negatives so far of a block of texts."""

    def __init__(self, texts: Rotated, images: Rotated, rows: slice, count: int) -> None:
        self.texts, self.images, self.rows = texts, images, rows
        size, device = rows.stop - rows.start, texts.full.device
        self.similarity = torch.full((size, count), -torch.inf, device=device)
        self.number = torch.full((size, count), NONE, device=device)
        # Rounding of a bound and of a similarity.
        self.margin = 1e-5 * texts.longest * images.longest

    def add(self, columns: slice, right: RightAnswers) -> None:
        """Compare the texts with some more images."""
        excluded = right.pairs(self.rows, columns)
        row, column = (torch.from_numpy(part).to(self.number.device) for part in excluded)
        if (self.number[:, -1] != NONE).any():
            text, photo = self._candidates(columns, row, column + columns.start)
            if len(text) <= DENSE * len(self.number) * (columns.stop - columns.start):
                # Pairs are in the order of texts.
                similarity = products_of_pairs(self.texts.full[self.rows], self.images.full, text, photo)
                better = similarity > self.similarity[text, -1]
                self._merge(*_padded(text[better], photo[better], similarity[better], len(self.number)))
                return
        similarity = self.texts.full[self.rows] @ self.images.full[columns].T
        similarity[row, column] = -torch.inf
        best, position = similarity.topk(min(self.number.shape[1], similarity.shape[1]), dim=1)
        self._merge(best, position + columns.start)

    def _candidates(self, columns: slice, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows and columns, in the order of rows, whose bound reaches the worst negative, without some pairs."""
        texts, least = self.texts.bound[self.rows], self.similarity[:, -1:] - self.margin
        found = []
        for start in range(columns.start, columns.stop, TILE):
            stop = min(start + TILE, columns.stop)
            chosen = _at_least(texts @ self.images.bound[start:stop].T, least)
            inside = (column >= start) & (column < stop)
            chosen[row[inside], column[inside] - start] = False
            one, other = _places(chosen)
            found.append((one, other + start))
        one, other = (torch.cat(parts) for parts in zip(*found, strict=True))
        one, order = one.sort(stable=True)
        return one, other[order]

    def _merge(self, similarity: Tensor, number: Tensor) -> None:
        similarity, number = torch.cat([self.similarity, similarity], 1), torch.cat([self.number, number], 1)
        self.similarity, position = similarity.topk(self.number.shape[1], dim=1)
        self.number = number.gather(1, position).masked_fill(self.similarity == -torch.inf, NONE)


def _at_least(bound: Tensor, least: Tensor) -> Tensor:
    """Return where a bound (rows, columns) is at least `least` (rows, 1), which is rounded as the bounds are."""
    least = least.to(bound.dtype)
    if bound.dtype == torch.bfloat16 and bool((least > 0).all()):
        # Numbers above zero have the order of their bits, and integers are compared faster.
        return bound.view(torch.int16) >= least.view(torch.int16)
    return bound >= least


def _places(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows and columns where a mask, which is almost everywhere False, is True, in the order of rows."""
    if mask.shape[1] % 8:
        row, column = mask.nonzero().unbind(1)
        return row, column
    # Eight values at a time.
    words = mask.view(torch.int64)
    row, word = words.nonzero().unbind(1)
    chosen, bit = words[row, word].view(torch.bool).view(-1, 8).nonzero().unbind(1)
    return row[chosen], word[chosen] * 8 + bit


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
    dtype = torch.bfloat16 if supports_bf16(text.device.type) else torch.float32
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
    text, image = text @ axes, image @ axes
    one, other = (_factors(value, first, dtype, image) for value, image in ((text, False), (image, True)))
    return Rotated(text, one), Rotated(image, other)


def _factors(value: Tensor, first: int, dtype: torch.dtype, image: bool) -> Tensor:
    """Return in `dtype` what is multiplied for the bounds (n, first + 3).

    With r(a) the first coordinates in `dtype`, and a'' the others:
    a.b <= r(a).r(b) + |a''| |b''| + |a' - r(a)| |b'| + |r(a)| |b' - r(b)|.
    """
    exact, rest = value[:, :first], value[:, first:].norm(dim=1)
    short, lost, length = rounded(exact, dtype)
    # Lengths are rounded up.
    lengths = torch.stack([rest, length, lost] if image else [rest, lost, length], 1) * (1 + torch.finfo(dtype).eps)
    return torch.cat([short, lengths.to(dtype)], 1)


def _sample(drawn: np.random.Generator, count: int) -> Tensor:
    rows: NDArray[np.int64] = drawn.choice(count, min(count, SAMPLE), replace=False)
    return torch.from_numpy(rows)
