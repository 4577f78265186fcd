"""Aligns the results of runs: the same queries or products in the same order, a system for each run.

A part is one split of one task. Every run of a part has the same units, so that differences are by unit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.evaluation.additive import Additive, class_columns, rank_columns
from pipeline_lib.evaluation.jackknife import clusters
from pipeline_lib.evaluation.summary import labelled, published
from pipeline_lib.experiments.compare.runs import Run
from pipeline_lib.experiments.compare.test_sets import CLASSIFICATION, RANK_KEY, rows_of
from pipeline_lib.metrics import ranking
from pipeline_lib.metrics.ranking import CUTOFFS, rank_statistic, ranks_of
from pipeline_lib.metrics.tied_ranks import TiedRanks
from pipeline_lib.metrics.weighted import Statistic

Values = NDArray[np.float64]
LOWER_IS_BETTER = (*ranking.LOWER_IS_BETTER, "ece")
# What a query or product counts in the figures that are means over them: the figure, and those without such a value.
BY_UNIT = {"macro_f1": "top1", "balanced_accuracy": "top1", "ece": "top1", "median_rank": "mean_rank"}


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
    """One split of one task: its units (unit_id, fold, group_id), and a system for each run of each setting."""

    split: str
    task: str
    units: pl.DataFrame
    systems: list[list[System]]

    @property
    def of_queries(self) -> bool:
        """Return whether the units are queries of the catalogue, not its products."""
        return self.task not in ("image_to_text", CLASSIFICATION)

    @property
    def groups(self) -> NDArray[np.int64]:
        """Return the number, from 0, of the group of each unit."""
        return clusters(self.units["group_id"])

    def values(self, setting: int, figure: str) -> Values:
        """Return what each unit counts in a figure, the mean over the runs of a setting, (units,)."""
        name = BY_UNIT.get(figure, figure)
        return np.asarray(np.mean([system.by_unit[name] for system in self.systems[setting]], axis=0))


def make_part(split: str, task: str, settings: Sequence[Sequence[Run]]) -> Part:
    """Return one split of a task; the runs of all settings must have been measured alike in it."""
    make = _classification_part if task == CLASSIFICATION else _ranked_part
    return make(split, task, settings)


def _ranked_part(split: str, task: str, settings: Sequence[Sequence[Run]]) -> Part:
    tables = [[rows_of(run, task).filter(pl.col("split") == split).sort(RANK_KEY) for run in runs] for runs in settings]
    ranks = [[ranks_of(table) for table in row] for row in tables]
    pooled = float(np.median(np.concatenate([one.expected() for row in ranks for one in row])))
    systems: list[list[System]] = []
    for row in ranks:
        systems.append([])
        for one in row:
            hits = {f"R@{k}": one.hits(k) for k in CUTOFFS}
            mean = np.mean(list(hits.values()), axis=0)
            by_unit = hits | {"MeanRecall": mean, "mean_rank": one.expected()}
            systems[-1].append(System(rank_statistic(one), rank_columns(one, pooled), by_unit, one))
    units = tables[0][0].select(pl.col("query_id").alias("unit_id"), "fold", "group_id", "num_right")
    return Part(split, task, units, systems)


def _classification_part(split: str, task: str, settings: Sequence[Sequence[Run]]) -> Part:
    classes = settings[0][0].classes
    systems: list[list[System]] = []
    for runs in settings:
        systems.append([])
        for run in runs:
            scores = labelled(rows_of(run, task).sort("product_id"), classes, split).scores
            by_unit = {f"top{k}": (scores.ranks < k).astype(np.float64) for k in (1, 3)}
            systems[-1].append(System(published(scores), class_columns(scores), by_unit))
    rows = rows_of(settings[0][0], task).filter(pl.col("split") == split).sort("product_id")
    units = rows.select(pl.col("product_id").alias("unit_id"), "fold", "group_id")
    return Part(split, task, units, systems)
