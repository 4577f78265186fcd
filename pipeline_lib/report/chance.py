"""Chance levels: the figures of a random order of the gallery.

They are exact for several right answers: with p of them among g products, all rank below k with the hypergeometric
probability C(g - p, k) / C(g, k). It is symmetric in k and p, and so a product of few factors. The products of a
query's own gallery, and so its number of right answers, are the queries of the other direction.
"""

from dataclasses import dataclass
from math import prod

import polars as pl

GALLERY = ["split", "fold"]
OTHER = {"text_to_image": "image_to_text", "image_to_text": "text_to_image"}


def hit_chance(gallery: int, positives: int, k: int) -> float:
    """Return the chance that a random order puts one of `positives` among the first k of `gallery`.

    >>> round(hit_chance(gallery=10, positives=1, k=3), 6), round(hit_chance(gallery=4, positives=2, k=2), 6)
    (0.3, 0.833333)
    """
    fewer, more = sorted((k, positives))
    return 1.0 - prod((gallery - more - i) / (gallery - i) for i in range(fewer))


@dataclass(frozen=True)
class Chance:
    """A random order for one set of queries: `cases` maps (gallery size, right answers) to the number of queries."""

    cases: dict[tuple[int, int], int]

    def recall(self, k: int) -> float:
        """Return R@k of a random order."""
        total = sum(self.cases.values())
        return sum(count * hit_chance(*case, k) for case, count in self.cases.items()) / total

    def median_rank(self) -> int:
        """Return the median rank of the best right answer in a random order: the first k with R@k >= 1/2."""
        low, high = 1, max(gallery for gallery, _ in self.cases)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.recall(middle) >= 0.5 else (middle + 1, high)
        return low

    def mean_rank(self) -> float:
        """Return the mean rank of the best right answer in a random order: (gallery + 1) / (positives + 1) each."""
        total = sum(self.cases.values())
        return sum(count * (gallery + 1) / (right + 1) for (gallery, right), count in self.cases.items()) / total


def retrieval_chance(ranks: pl.DataFrame, relevance: pl.DataFrame) -> dict[tuple[str, str], Chance]:
    """Return the chance level of each (split, direction) that was evaluated."""
    pairs = relevance.filter(pl.col("grade") > 0).select("query_id", "product_id").unique()
    chances = {}
    for (split, direction), group in ranks.group_by("split", "direction", maintain_order=True):
        gallery = ranks.filter(pl.col("direction") == OTHER[str(direction)], pl.col("split") == split)
        own, other = ("query_id", "product_id") if direction == "text_to_image" else ("product_id", "query_id")
        positives = (
            pairs.select(pl.col(own).alias("query_id"), pl.col(other).alias("answer_id"))
            .join(gallery.select(pl.col("query_id").alias("answer_id"), *GALLERY), on="answer_id")
            .group_by("query_id", *GALLERY)
            .len("positives")
        )
        # If only one direction was evaluated, its gallery is unknown: a query then counts with one right answer.
        counted = group.join(positives, on=["query_id", *GALLERY], how="left", nulls_equal=True)
        counted = counted.with_columns(pl.col("positives").fill_null(1)).group_by("num_gallery", "positives").len()
        cases = {(int(g), int(p)): int(n) for g, p, n in counted.sort("num_gallery", "positives").iter_rows()}
        chances[str(split), str(direction)] = Chance(cases)
    return chances
