"""Label issues: products whose label the models confidently contradict. They are candidates for a manual check.

Confident learning (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068): the threshold of a class is the mean
probability of that class over its own products, so hard classes have low thresholds and easy classes high ones. A
product at or above the threshold of another class than its label is a candidate. Only out-of-fold probabilities are
valid, because a model repeats the labels it trained on.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts.schemas import ISSUES_SCHEMA
from pipeline_lib.evaluation.summary import labelled
from pipeline_lib.metrics.classification import Labels, Probabilities


def suggested_labels(truth: Labels, probabilities: Probabilities) -> Labels:
    """Return for each product the most probable class whose threshold it reaches, -1 for none, (products,).

    The first of equally probable classes is suggested. A class without products has no threshold and is never
    suggested.
    """
    num_classes = probabilities.shape[1]
    own = np.take_along_axis(probabilities, truth[:, None], axis=1)[:, 0].astype(np.float64)
    support = np.bincount(truth, minlength=num_classes)
    thresholds = np.bincount(truth, weights=own, minlength=num_classes) / np.maximum(support, 1)
    reached = (probabilities >= np.where(support > 0, thresholds, np.inf)) & (probabilities > 0)
    best: NDArray[np.int64] = np.where(reached, probabilities, -1.0).argmax(axis=1)
    return np.where(reached.any(axis=1), best, -1)


def label_issues(predictions: pl.DataFrame, classes: Sequence[str]) -> pl.DataFrame:
    """Return ISSUES_SCHEMA rows of the out-of-fold products whose suggested label differs from their label.

    They are sorted by the probability of the suggestion minus that of the label, largest first.
    """
    known = predictions.filter((pl.col("split") == "oof") & pl.col("label").is_in(list(classes)))
    part = labelled(predictions, classes, "oof")
    if not len(part.truth):
        return pl.DataFrame(schema=ISSUES_SCHEMA)
    suggested = suggested_labels(part.truth, part.probabilities)
    rows = np.flatnonzero((suggested >= 0) & (suggested != part.truth))
    issues = known.select("product_id", "fold", "label")[rows].with_columns(
        suggested=pl.Series([classes[number] for number in suggested[rows]], dtype=pl.String),
        probability=pl.Series(part.probabilities[rows, suggested[rows]], dtype=pl.Float32),
        label_probability=pl.Series(part.probabilities[rows, part.truth[rows]], dtype=pl.Float32),
    )
    margin = pl.col("probability") - pl.col("label_probability")
    ordered = issues.sort(margin, "product_id", descending=[True, False])
    return ordered.select(*ISSUES_SCHEMA).cast(pl.Schema(ISSUES_SCHEMA))
