"""Which photos are right answers to the texts of which products, so that mining never takes one as a negative.

A photo is a right answer to a text if its product answers the text, has an equal text, or is the same thing as such a
product. A batch compares all its photos with all its texts, so a pair of products counts both ways: the texts of one
and the photo of the other. Texts and groups are keys; memory is that of the lists of keys, not of all pairs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.loading.products import Products

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class KeyLists:
    """The keys of some products: pairs of product and key, sorted by product, and coded by key for look-ups."""

    product: Rows
    key: Rows
    coded: Rows  # sorted key * count + product
    count: int

    @staticmethod
    def of_pairs(product: Rows, key: Rows, count: int) -> "KeyLists":
        """Make the lists from pairs in any order; products are 0 to count - 1."""
        coded = np.unique(key * count + product)
        order = np.argsort(coded % count, kind="stable")
        return KeyLists((coded % count)[order], (coded // count)[order], coded, count)

    def of_products(self, rows: slice) -> tuple[Rows, Rows]:
        """Return the product, counted from the first row, and the key of each pair of these products."""
        first, last = np.searchsorted(self.product, (rows.start, rows.stop))
        return self.product[first:last] - rows.start, self.key[first:last]

    def with_key(self, keys: Rows, columns: slice) -> tuple[Rows, Rows]:
        """Return, for all products among the columns that have a key, its place in `keys` and the product."""
        first = np.searchsorted(self.coded, keys * self.count + columns.start)
        lengths = np.searchsorted(self.coded, keys * self.count + columns.stop) - first
        place = np.repeat(np.arange(len(keys)), lengths)
        offset = np.arange(len(place)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return place, self.coded[first[place] + offset] % self.count


@dataclass(frozen=True)
class RightAnswers:
    """For each product the texts that it is trained with, and those that its photo answers."""

    trained: KeyLists
    answered: KeyLists

    def of(self, order: Rows) -> "RightAnswers":
        """Return those of the same products in another order."""
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        one, other = (KeyLists.of_pairs(place[x.product], x.key, x.count) for x in (self.trained, self.answered))
        return RightAnswers(one, other)

    def pairs(self, rows: slice, columns: slice) -> tuple[Rows, Rows]:
        """Return rows and columns, each counted from the first, of the pairs that are right answers; some twice."""
        found = []
        for one, other in ((self.trained, self.answered), (self.answered, self.trained)):
            row, key = one.of_products(rows)
            place, column = other.with_key(key, columns)
            found.append((row[place], column - columns.start))
        return np.concatenate([row for row, _ in found]), np.concatenate([column for _, column in found])


def right_answers(products: Products, rows: Rows) -> RightAnswers:
    """Return the right answers among the products `rows`, numbered by their place in it.

    Products answer the texts of `products.answers` and their own; if `products.captions` is given, they are trained
    with those. Products of one group answer the same texts.
    """
    count = len(products)
    own = np.arange(count), products.text
    trained, answered = [own], [own]
    if products.captions is not None:
        trained.append(products.captions.pairs())
    if products.answers is not None:
        answered.append(products.answers.pairs())
    trained_lists, answered_lists = (_joined(parts) for parts in (trained, [*answered, *trained]))
    answered_lists = _shared_by_group(products.group, *answered_lists)
    # The group is one more key, after those of the texts.
    groups = np.arange(count), products.group + len(products.texts)
    trained_lists, answered_lists = _joined([trained_lists, groups]), _joined([answered_lists, groups])
    return RightAnswers(_among(rows, count, *trained_lists), _among(rows, count, *answered_lists))


def _joined(parts: list[tuple[Rows, Rows]]) -> tuple[Rows, Rows]:
    return np.concatenate([one for one, _ in parts]), np.concatenate([other for _, other in parts])


def _shared_by_group(group: Rows, product: Rows, key: Rows) -> tuple[Rows, Rows]:
    """Give the keys of each product to all products of its group."""
    keys = KeyLists.of_pairs(group[product], key, int(group.max(initial=0)) + 1)
    members = KeyLists.of_pairs(np.arange(len(group)), group, len(group))
    place, member = members.with_key(keys.product, slice(0, len(group)))
    return member, keys.key[place]


def _among(rows: Rows, count: int, product: Rows, key: Rows) -> KeyLists:
    place = np.full(count, -1)
    place[rows] = np.arange(len(rows))
    known = place[product] >= 0
    return KeyLists.of_pairs(place[product][known], key[known], max(1, len(rows)))
