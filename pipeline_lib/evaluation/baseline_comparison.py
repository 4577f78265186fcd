"""Compares the trained models with the baselines on the same products, by a paired jackknife.

Two overlapping intervals say little about two classifiers on the same products. The interval of their difference is
narrower, because products that are hard for both cancel out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from pipeline_lib.artifacts.schemas import BASELINES_SCHEMA
from pipeline_lib.evaluation.jackknife import differences, leave_out
from pipeline_lib.evaluation.summary import DIGITS, SPLITS, intervals_of, labelled
from pipeline_lib.metrics.classification import CLASS_FIGURES, ClassScores, class_statistic

Tree = dict[str, Any]
GAIN_FIGURES = ("top1", "macro_f1")


def baseline_trees(
    predictions: pl.DataFrame,
    scores: Mapping[str, Mapping[str, ClassScores]],
    classes: Sequence[str],
) -> tuple[Tree, Tree, pl.DataFrame]:
    """Return {split: {baselines: {name: figures}}}, the same tree of intervals, and BASELINES_SCHEMA rows with gains.

    `scores` are by baseline and split, with one row for each product that `labelled` returns, in its order.
    """
    figures: Tree = {}
    intervals: Tree = {}
    rows = []
    for split in SPLITS:
        own = labelled(predictions, classes, split)
        baselines = {name: by_split[split] for name, by_split in scores.items() if split in by_split}
        if not len(own.truth) or not baselines:
            continue
        fine_tuned = leave_out(class_statistic(own.scores), own.groups)
        for name, scored in baselines.items():
            baseline = leave_out(class_statistic(scored), own.groups)
            values, spans = intervals_of(baseline, CLASS_FIGURES)
            for tree, branch in ((figures, values), (intervals, spans)):
                shown = {key: branch[key] for key in GAIN_FIGURES}
                tree.setdefault(split, {}).setdefault("baselines", {})[name] = shown
            gains = dict(zip(CLASS_FIGURES, differences(baseline, fine_tuned), strict=True))
            for key in GAIN_FIGURES:
                rows.append((split, name, key, values[key], *np.round(gains[key].within(1.0), DIGITS).tolist()))
    return figures, intervals, pl.DataFrame(rows, schema=BASELINES_SCHEMA, orient="row")
