"""Label issues: products whose label the models confidently contradict. They are candidates for a manual check.

Confident learning (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068): the threshold of a class is the mean
probability of that class over its own products, so hard classes have low thresholds and easy classes high ones. A
product at or above the threshold of another class than its label is a candidate. Only out-of-fold probabilities are
valid, because a model repeats the labels it trained on.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts.io import block_rows
from pipeline_lib.artifacts.read import reading
from pipeline_lib.artifacts.schemas import ISSUES_SCHEMA
from pipeline_lib.evaluation.summary import MEASURED, labelled
from pipeline_lib.metrics.classification import Labels, Probabilities, class_numbers


def class_thresholds(truth: Labels, own: NDArray[np.floating], num_classes: int) -> NDArray[np.float64]:
    """Return the mean of `own` (products,), the true class's probability, by class; infinite without products."""
    support = np.bincount(truth, minlength=num_classes)
    means = np.bincount(truth, weights=own.astype(np.float64), minlength=num_classes) / np.maximum(support, 1)
    return np.where(support > 0, means, np.inf)


def suggested_labels(probabilities: Probabilities, thresholds: NDArray[np.float64]) -> Labels:
    """Return for each product the most probable class whose threshold it reaches, -1 for none, (products,).

    The first of equally probable classes is suggested.
    """
    reached = (probabilities >= thresholds) & (probabilities > 0)
    best: NDArray[np.int64] = np.where(reached, probabilities, -1.0).argmax(axis=1)
    return np.where(reached.any(axis=1), best, -1)


def label_issues(scores: pl.DataFrame, predictions: Path, classes: Sequence[str]) -> pl.DataFrame:
    """Return ISSUES_SCHEMA rows of the out-of-fold products whose suggested label differs from their label.

    `scores` has CLASS_SCORES_SCHEMA rows. The file `predictions` has PREDICTIONS_SCHEMA rows of the same products in
    the same order, which are read in blocks. Issues are sorted by the probability of the suggestion minus that of the
    label, largest first.
    """
    part = labelled(scores, classes, "oof")
    if not len(part.truth):
        return pl.DataFrame(schema=ISSUES_SCHEMA)
    counts = scores.select((pl.col("split") == "oof") & MEASURED).to_series()
    thresholds = class_thresholds(part.truth, part.label_probability, len(classes))
    rows = block_rows(len(classes))
    table = pl.scan_parquet(predictions)
    with reading(predictions):
        starts = range(0, scores.height, rows)
        blocks = (table.slice(start, rows).collect().filter(counts.slice(start, rows)) for start in starts)
        issues = pl.concat(_issues(block, classes, thresholds) for block in blocks)
    margin = pl.col("probability") - pl.col("label_probability")
    ordered = issues.sort(margin, "product_id", descending=[True, False])
    return ordered.select(*ISSUES_SCHEMA).cast(pl.Schema(ISSUES_SCHEMA))


def _issues(known: pl.DataFrame, classes: Sequence[str], thresholds: NDArray[np.float64]) -> pl.DataFrame:
    truth = class_numbers(known["label"], classes)
    probabilities = known["probabilities"].list.to_array(len(classes)).to_numpy()
    suggested = suggested_labels(probabilities, thresholds)
    rows = np.flatnonzero((suggested >= 0) & (suggested != truth))
    return known.select("product_id", "fold", "label")[rows].with_columns(
        suggested=pl.Series([classes[number] for number in suggested[rows]], dtype=pl.String),
        probability=pl.Series(probabilities[rows, suggested[rows]], dtype=pl.Float32),
        label_probability=pl.Series(probabilities[rows, truth[rows]], dtype=pl.Float32),
    )
