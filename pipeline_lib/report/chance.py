"""Chance levels: the figures of a random order of the gallery, as if all its scores were equal."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline_lib.metrics.ranking import chance_of
from pipeline_lib.metrics.tied_ranks import TiedRanks, weighted_median_ranks


@dataclass(frozen=True)
class Chance:
    """A random order for one set of queries: `cases` are the distinct ranks, `counts` (1, cases) their queries."""

    cases: TiedRanks
    counts: np.ndarray

    def recall(self, k: int) -> float:
        """Return R@k of a random order."""
        return float(np.average(self.cases.hits(k), weights=self.counts[0]))

    def median_rank(self) -> float:
        """Return the median rank of the best right answer over all orders."""
        return float(weighted_median_ranks(self.cases, self.counts)[0])

    def mean_rank(self) -> float:
        """Return the mean rank of the best right answer: (gallery + 1) / (positives + 1) of each query."""
        return float(np.average(self.cases.expected(), weights=self.counts[0]))


def retrieval_chance(ranks: pl.DataFrame) -> dict[tuple[str, str], Chance]:
    """Return the chance level of each (split, direction) of the RANKS_SCHEMA rows."""
    chances = {}
    for (split, direction), part in ranks.group_by("split", "direction", maintain_order=True):
        cases = part.group_by("num_gallery", "num_right").len().sort("num_gallery", "num_right")
        counts = cases["len"].to_numpy().astype(np.float64)[None]
        chances[str(split), str(direction)] = Chance(chance_of(cases), counts)
    return chances
