"""Measures what the second modality adds: classifiers on image, text and both, on the same products.

The gain is the accuracy of the classifier on both minus that of the better single one, with the interval of the paired
jackknife. The overlap explains a small gain: how often the weaker classifier is right where the better one is wrong. If
that is less than its overall accuracy, both find the same products hard.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts.schemas import MODALITY_GAIN_SCHEMA
from pipeline_lib.evaluation.jackknife import paired_differences
from pipeline_lib.evaluation.summary import DIGITS, SPLITS, labelled
from pipeline_lib.metrics.classification import ClassScores
from pipeline_lib.metrics.weighted import Counts, Statistic, weighted_means

Scores = dict[str, ClassScores]


class ModalityScores(NamedTuple):
    """Scores by split of the classifiers on image, on text and on both; empty without one.

    A split has one row for each product that `labelled` returns, in its order.
    """

    image: Scores
    text: Scores
    both: Scores


def modality_gain(predictions: pl.DataFrame, scores: ModalityScores, classes: Sequence[str]) -> pl.DataFrame:
    """Return MODALITY_GAIN_SCHEMA rows, one for each split that all three classifiers have."""
    rows = []
    for split in SPLITS:
        own = labelled(predictions, classes, split)
        truth = own.truth
        if not len(truth) or not all(split in part for part in scores):
            continue
        image, text, both = (part[split].predicted == truth for part in scores)
        correct = {"image": image, "text": text}
        better, other = sorted(correct, key=lambda name: -correct[name].mean())
        systems = (_accuracy(correct[better]), _accuracy(both))
        gain = paired_differences(*systems, own.groups)[0].within(1.0)
        missed = ~correct[better]
        shares = [image.mean(), text.mean(), both.mean(), *gain]
        counts = [len(truth), int(missed.sum()), int((missed & correct[other]).sum())]
        rows.append((split, better, *np.round(shares, DIGITS).tolist(), *counts))
    return pl.DataFrame(rows, schema=MODALITY_GAIN_SCHEMA, orient="row")


def _accuracy(correct: NDArray[np.bool_]) -> Statistic:
    hits = correct.astype(np.float64)[:, None]

    def accuracy(counts: Counts) -> NDArray[np.float64]:
        return weighted_means(hits, counts)

    return accuracy
