"""Turns ranks and probabilities into the published tree of figures and the same tree of intervals.

Galleries of different folds are ranked separately, because scores of different models are not comparable. Their queries
form one sample, so an out-of-fold figure covers all folds; its gallery size is the mean over the queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.evaluation.bootstrap import clusters, percentile_intervals
from pipeline_lib.metrics.calibration import calibration_statistic
from pipeline_lib.metrics.classification import CLASS_FIGURES, class_statistic
from pipeline_lib.metrics.ranking import RANK_FIGURES, rank_statistic
from pipeline_lib.metrics.weighted import Counts, Statistic, point

SPLITS = ("oof", "test")
DIGITS = 6
PUBLISHED = (*CLASS_FIGURES, "ece")
Tree = dict[str, Any]


@dataclass(frozen=True)
class Labelled:
    """The products of one split whose label is one of the classes, and how many were left out.

    `groups` (products,) numbers the groups. Near-duplicates and photos of one product are right or wrong together, so
    the bootstrap draws them together.
    """

    truth: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    groups: NDArray[np.int64]
    left_out: int


def retrieval_trees(ranks: pl.DataFrame, resamples: int, seed: int) -> tuple[Tree, Tree]:
    """Return {split: {retrieval: {direction: figures}}} and the same tree of [low, high]."""
    figures: Tree = {}
    intervals: Tree = {}
    for (split, direction), part in ranks.group_by("split", "direction", maintain_order=True):
        statistic = rank_statistic(part["rank"].to_numpy())
        value, interval = with_intervals(statistic, RANK_FIGURES, clusters(part["group_id"]), resamples, seed)
        sizes = {"num_queries": part.height, "num_gallery": round(part["num_gallery"].to_numpy().mean())}
        figures.setdefault(split, {}).setdefault("retrieval", {})[direction] = value | sizes
        intervals.setdefault(split, {}).setdefault("retrieval", {})[direction] = interval
    return figures, intervals


def classification_trees(
    predictions: pl.DataFrame, classes: Sequence[str], resamples: int, seed: int
) -> tuple[Tree, Tree]:
    """Return {split: {classification: figures}} and the same tree of intervals; a split without labels is left out."""
    figures: Tree = {}
    intervals: Tree = {}
    for split in SPLITS:
        part = labelled(predictions, classes, split)
        if len(part.truth):
            value, interval = with_intervals(published(part), PUBLISHED, part.groups, resamples, seed)
            figures[split] = {"classification": value}
            intervals[split] = {"classification": interval}
    return figures, intervals


def published(part: Labelled) -> Statistic:
    """Return the statistic of the PUBLISHED figures."""
    classified = class_statistic(part.truth, part.probabilities)
    calibrated = calibration_statistic(part.truth, part.probabilities)

    def figures(counts: Counts) -> NDArray[np.float64]:
        return np.concatenate([classified(counts), calibrated(counts)], axis=1)

    return figures


def labelled(predictions: pl.DataFrame, classes: Sequence[str], split: str) -> Labelled:
    """Return the products of a split that can be scored: those with a label that is one of the classes."""
    part = predictions.filter(pl.col("split") == split)
    known = part.filter(pl.col("label").is_in(list(classes)))
    number_of = {label: number for number, label in enumerate(classes)}
    truth = np.array([number_of[label] for label in known["label"]], np.int64)
    probabilities = known["probabilities"].list.to_array(len(classes)).to_numpy()
    return Labelled(truth, probabilities, clusters(known["group_id"]), part.height - known.height)


def merged(*trees: Tree) -> Tree:
    """Return one tree with the branches of all trees, merged level by level."""
    total: Tree = {}
    for tree in trees:
        for key, value in tree.items():
            total[key] = merged(total[key], value) if isinstance(value, dict) and key in total else value
    return total


def with_intervals(
    statistic: Statistic, names: Sequence[str], groups: NDArray[np.int64], resamples: int, seed: int
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return the figures of the sample and their [low, high] by name, both rounded for stable diffs.

    `groups` (units,) numbers the groups that the bootstrap draws, from 0.
    """
    values = point(statistic, len(groups)).round(DIGITS).tolist()
    intervals = percentile_intervals(statistic, len(groups), resamples, seed, groups).round(DIGITS).tolist()
    return dict(zip(names, values, strict=True)), dict(zip(names, intervals, strict=True))
