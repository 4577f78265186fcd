"""Clusters by complete linkage: every two members of a cluster are linked, so that A ~ B and B ~ C never join A and C.

Links come in the order of their difference. Two clusters merge when the last link between their members has come, which
is agglomerative clustering by the largest difference of two members (complete linkage) with missing links as infinite.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Links:
    """Undirected links of items, each once: (links,) item numbers `first` and `second`, and their difference."""

    first: Indices
    second: Indices
    difference: NDArray[np.float32]

    @classmethod
    def of(cls, frame: pl.DataFrame) -> "Links":
        """Return the links of a frame with these columns."""
        return cls(*(frame[name].to_numpy() for name in ("first", "second", "difference")))


def complete_linkage(sizes: Indices, links: Links, max_size: int) -> tuple[Indices, int]:
    """Return the cluster number of each item, and how many merges were refused because of `max_size`.

    `sizes` (items,) is what an item counts towards `max_size`. Equal differences are taken in the order of the items.
    """
    first, second = links.first, links.second
    cluster = np.arange(len(sizes))
    members: dict[int, list[int]] = {}
    weight: dict[int, int] = {}
    between: dict[int, dict[int, int]] = {}
    refused = 0
    for place in np.lexsort((np.maximum(first, second), np.minimum(first, second), links.difference)).tolist():
        one, other = sorted((int(cluster[first[place]]), int(cluster[second[place]])))
        for number in (one, other):
            if number not in members:
                members[number], weight[number], between[number] = [number], int(sizes[number]), {}
        between[one][other] = between[other][one] = between[one].get(other, 0) + 1
        if between[one][other] < len(members[one]) * len(members[other]):
            continue
        if weight[one] + weight[other] > max_size:
            refused += 1
            continue
        cluster[members[other]] = one
        members[one] += members.pop(other)
        weight[one] += weight.pop(other)
        del between[one][other]
        for neighbour, count in between.pop(other).items():
            if neighbour != one:
                del between[neighbour][other]
                total = between[one].get(neighbour, 0) + count
                between[one][neighbour] = between[neighbour][one] = total
    return cluster, refused
