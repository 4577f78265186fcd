"""Turns ranks and probabilities into the published tree of figures and the same tree of intervals.

Galleries of different folds are ranked separately, because scores of different models are not comparable. Their queries
form one sample, so an out-of-fold figure covers all folds; its gallery size is the mean over the queries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts.read import read_object
from pipeline_lib.evaluation.calibration_interval import calibration_interval
from pipeline_lib.evaluation.intervals import mean_interval, share_intervals
from pipeline_lib.evaluation.jackknife import LeftOut, clusters, leave_out, variation
from pipeline_lib.evaluation.median_interval import median_interval
from pipeline_lib.metrics.calibration import calibration_statistic
from pipeline_lib.metrics.classification import CLASS_FIGURES, ClassScores, Labels, class_numbers, class_statistic
from pipeline_lib.metrics.ranking import CUTOFFS, RANK_FIGURES, chance_of, rank_statistic, ranks_of
from pipeline_lib.metrics.weighted import Counts, Statistic

SPLITS = ("oof", "test")
DIGITS = 6
PUBLISHED = (*CLASS_FIGURES, "ece")
# F1 falls faster in small samples of a class than it rises in large ones: 2,000 products of 40 classes have a macro-F1
# that is 1 point too low on average, three quarters of its standard error (`bench/coverage.py`).
BIASED = ("macro_f1",)
# Whether CLASS_SCORES_SCHEMA rows count in figures: without a class that their models learned they have no rank.
MEASURED = pl.col("label_rank").is_not_null()
Tree = dict[str, Any]
# What is published of the counts of the catalogue.
COUNTED = {"products": int, "queries": int, "rejected": int, "columns": dict, "groups": dict, "composed": dict}
# [low, high] of the figures that are no share, by name.
OwnIntervals = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Labelled:
    """The products of one split whose label their models learned; how many others there are, with a label and without.

    `groups` (products,) numbers the groups. Near-duplicates and photos of one product are right or wrong together, so
    an interval counts a group as one.
    """

    scores: ClassScores
    label_probability: NDArray[np.float32]
    groups: NDArray[np.int64]
    unlearned: int
    unlabelled: int

    @property
    def truth(self) -> Labels:
        """Return the true classes (products,)."""
        return self.scores.truth


def retrieval_trees(ranks: pl.DataFrame, resamples: int, seed: int) -> tuple[Tree, Tree]:
    """Return {split: {retrieval: {direction: figures}}} and the same tree of [low, high].

    `chance` among the figures has R@k of a random order of the same galleries.
    """
    figures: Tree = {}
    intervals: Tree = {}
    for (split, direction), part in ranks.group_by("split", "direction", maintain_order=True):
        tied, groups = ranks_of(part), clusters(part["group_id"])
        own = {
            "median_rank": median_interval(tied.expected(), groups),
            "mean_rank": mean_interval(tied.expected(), groups, resamples, seed),
        }
        value, interval = with_intervals(rank_statistic(tied), RANK_FIGURES, groups, own)
        sizes = {"num_queries": part.height, "num_gallery": round(part["num_gallery"].to_numpy().mean())}
        chance = {"chance": {f"R@{k}": round(float(chance_of(part).hits(k).mean()), DIGITS) for k in CUTOFFS}}
        figures.setdefault(split, {}).setdefault("retrieval", {})[direction] = value | sizes | chance
        intervals.setdefault(split, {}).setdefault("retrieval", {})[direction] = interval
    return figures, intervals


def classification_trees(scores: pl.DataFrame, classes: Sequence[str]) -> tuple[Tree, Tree]:
    """Return {split: {classification: figures}} and the same tree of intervals; a split without labels is left out.

    A split whose labels no model learned has the sizes alone.
    """
    figures: Tree = {}
    intervals: Tree = {}
    for split in SPLITS:
        part = labelled(scores, classes, split)
        sizes = {"num_products": len(part.truth), "num_unlearned": part.unlearned}
        if len(part.truth):
            own = {"ece": calibration_interval(part.scores, part.groups)}
            value, interval = with_intervals(published(part.scores), PUBLISHED, part.groups, own)
            chance = {f"top{k}": round(min(1.0, k / len(classes)), DIGITS) for k in (1, 3)}
            figures[split] = {"classification": value | sizes | {"chance": chance}}
            intervals[split] = {"classification": interval}
        elif part.unlearned:
            figures[split] = {"classification": sizes}
    return figures, intervals


def published(scores: ClassScores) -> Statistic:
    """Return the statistic of the PUBLISHED figures."""
    classified, calibrated = class_statistic(scores), calibration_statistic(scores)

    def figures(counts: Counts) -> NDArray[np.float64]:
        return np.concatenate([classified(counts), calibrated(counts)], axis=1)

    return figures


def labelled(scores: pl.DataFrame, classes: Sequence[str], split: str) -> Labelled:
    """Return the products of CLASS_SCORES_SCHEMA rows in a split whose label a model that predicts them learned."""
    part = scores.filter(pl.col("split") == split)
    known = part.filter(MEASURED)
    truth, predicted = (class_numbers(known[column], classes) for column in ("label", "predicted"))
    confidence, ranks = known["confidence"].to_numpy().astype(np.float64), known["label_rank"].to_numpy() - 1
    scored = ClassScores(truth, predicted, confidence, ranks, len(classes))
    own, unlabelled = known["label_probability"].to_numpy(), part["label"].null_count()
    unlearned = part.height - known.height - unlabelled
    return Labelled(scored, own, clusters(known["group_id"]), unlearned, unlabelled)


def left_out_lines(scores: pl.DataFrame, classes: Sequence[str]) -> list[str]:
    """Return a line for each split with products that are in no classification figure."""
    lines = []
    for split in SPLITS if classes else ():
        part = labelled(scores, classes, split)
        reasons = {"without a label": part.unlabelled}
        reasons["whose class no model that predicts them was trained on"] = part.unlearned
        if found := ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count):
            lines.append(f"{split}: products in no classification figure: {found}")
    return lines


def data_counts(catalogue: Path, folds: Path) -> Tree:
    """Return {data: sizes of the catalogue, its columns, its groups}, of the outs of the stages catalogue and folds."""
    counts, fold_groups = read_object(catalogue / "counts.json", **COUNTED), read_object(folds / "groups.json")
    names = ["products", "queries", "rejected", "columns", *(["composed"] if counts["composed"] else [])]
    return {"data": {name: counts[name] for name in names} | {"groups": counts["groups"] | fold_groups}}


def merged(*trees: Tree) -> Tree:
    """Return one tree with the branches of all trees, merged level by level."""
    total: Tree = {}
    for tree in trees:
        for key, value in tree.items():
            total[key] = merged(total[key], value) if isinstance(value, dict) and key in total else value
    return total


def with_intervals(
    statistic: Statistic, names: Sequence[str], groups: NDArray[np.int64], own: OwnIntervals | None = None
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return `intervals_of` the figures of a statistic; `groups` (units,) numbers the groups of the units from 0."""
    return intervals_of(leave_out(statistic, groups), names, own)


def intervals_of(
    left_out: LeftOut, names: Sequence[str], own: OwnIntervals | None = None
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return the figures of the sample and their [low, high] by name, both rounded for stable diffs.

    Figures are shares, except those with an interval of their `own`; intervals of BIASED ones are about the figure
    less its bias. A figure is always inside its interval.
    """
    figures = variation(left_out)
    biases = np.where([name in BIASED for name in names], figures.biases, 0)
    unbiased = figures._replace(values=np.clip(figures.values - biases, 0, 1))
    spans = dict(zip(names, share_intervals(unbiased).tolist(), strict=True)) | dict(own or {})
    values = dict(zip(names, figures.values.tolist(), strict=True))
    intervals = {
        name: [round(min(spans[name][0], value), DIGITS), round(max(spans[name][1], value), DIGITS)]
        for name, value in values.items()
    }
    return {name: round(value, DIGITS) for name, value in values.items()}, intervals
