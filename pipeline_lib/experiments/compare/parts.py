"""Aligned results of runs: the same queries or products in the same order, a system for each run.

A part is figures of one task over the same units: those of a split, or the judged queries with a value of a figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.evaluation.additive import Additive
from pipeline_lib.evaluation.jackknife import clusters
from pipeline_lib.experiments.compare.runs import Run
from pipeline_lib.metrics import ranking
from pipeline_lib.metrics.ranges import figure_range
from pipeline_lib.metrics.tied_ranks import TiedRanks
from pipeline_lib.metrics.weighted import Statistic

Values = NDArray[np.float64]
# The runs of each setting.
RunsOfSettings = Sequence[Sequence[Run]]
LOWER_IS_BETTER = (*ranking.LOWER_IS_BETTER, "ece")
# What a query or product counts in the figures that are means over them: the figure, and those without such a value.
BY_UNIT = {"macro_f1": "top1", "balanced_accuracy": "top1", "ece": "top1", "median_rank": "mean_rank"}
# Tables of the catalogue that describe units.
QUERIES, PRODUCTS = "queries", "products"
SHOWN = 5  # products of a ranking


@dataclass(frozen=True)
class System:
    """One run of a part: its figures, their sums by group, and the values (units,) by figure of each unit."""

    statistic: Statistic
    additive: Additive
    by_unit: dict[str, Values]
    ranks: TiedRanks | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the figures."""
        return self.additive.names


@dataclass(frozen=True)
class Part:
    """Figures of one task and split: their units (unit_id, fold, group_id), and a system for each run of each setting.

    Units that are ranked have num_gallery, too.
    `declared` is the figure that is declared by default. `table` is the table of the catalogue that describes the
    units, None if a unit's id is its text.
    """

    split: str
    task: str
    units: pl.DataFrame
    systems: list[list[System]]
    declared: str
    table: str | None

    def width(self, figure: str) -> float:
        """Return the largest difference that two runs can have in a figure."""
        gallery = self.units["num_gallery"].to_numpy().max() if "num_gallery" in self.units.columns else np.inf
        low, high = figure_range(figure, float(gallery))
        return high - low

    @property
    def groups(self) -> NDArray[np.int64]:
        """Return the number, from 0, of the group of each unit."""
        return clusters(self.units["group_id"])

    def values(self, setting: int, figure: str) -> Values:
        """Return what each unit counts in a figure, the mean over the runs of a setting, (units,)."""
        name = BY_UNIT.get(figure, figure)
        return np.asarray(np.mean([system.by_unit[name] for system in self.systems[setting]], axis=0))


class Parts(NamedTuple):
    """The parts of a task and split, and lines about units that are in none."""

    parts: list[Part]
    left_out: list[str]


@dataclass(frozen=True)
class Answer:
    """What one run returned for a query or product.

    That is its expected rank, or 1 for a right class, with the best products or the class; or what a judged query
    counts in the part's figure, with its judged products in the run's order.
    """

    products: list[str]
    rank: float | None = None
    predicted: str | None = None
    value: float | None = None
