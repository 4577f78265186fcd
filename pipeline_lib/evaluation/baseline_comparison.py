"""Compares the fine-tuned models with the baselines on the same products, by a paired bootstrap.

Two overlapping intervals say little about two classifiers on the same products. The interval of their difference is
narrower, because products that are hard for both cancel out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts.schemas import BASELINES_SCHEMA
from pipeline_lib.evaluation.bootstrap import percentiles, resampled
from pipeline_lib.evaluation.summary import DIGITS, SPLITS, labelled
from pipeline_lib.metrics.classification import CLASS_FIGURES, Probabilities, class_statistic
from pipeline_lib.metrics.weighted import Counts, point

Tree = dict[str, Any]
GAIN_FIGURES = ("top1", "macro_f1")
SHOWN = [CLASS_FIGURES.index(name) for name in GAIN_FIGURES]


def baseline_trees(
    predictions: pl.DataFrame,
    scores: Mapping[str, Mapping[str, Probabilities]],
    classes: Sequence[str],
    resamples: int,
    seed: int,
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
        statistics = [class_statistic(own.truth, scored) for scored in (own.probabilities, *baselines.values())]

        def joint(counts: Counts, statistics: Sequence[Any] = tuple(statistics)) -> NDArray[np.float64]:
            return np.concatenate([statistic(counts)[:, SHOWN] for statistic in statistics], axis=1)

        values = point(joint, len(own.truth)).reshape(len(statistics), -1)
        draws = resampled(joint, len(own.truth), resamples, seed, own.groups)
        draws = draws.reshape(resamples, len(statistics), -1)
        for number, name in enumerate(baselines, start=1):
            spans = percentiles(draws[:, number]).round(DIGITS).tolist()
            gains = percentiles(draws[:, 0] - draws[:, number])
            figures.setdefault(split, {}).setdefault("baselines", {})[name] = dict(
                zip(GAIN_FIGURES, values[number].round(DIGITS).tolist(), strict=True)
            )
            intervals.setdefault(split, {}).setdefault("baselines", {})[name] = dict(
                zip(GAIN_FIGURES, spans, strict=True)
            )
            for column, figure in enumerate(GAIN_FIGURES):
                gain = (values[0, column] - values[number, column], *gains[column])
                rows.append((split, name, figure, *np.round([values[number, column], *gain], DIGITS).tolist()))
    return figures, intervals, pl.DataFrame(rows, schema=BASELINES_SCHEMA, orient="row")
