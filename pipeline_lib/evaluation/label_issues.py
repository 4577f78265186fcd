"""Products whose label the models contradict with confidence: candidates for a look, not verdicts.

Confident learning (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068): the bar of a class is the mean probability
that its own products get for it, so a class that is hard for the model has a low bar and one that is easy a high one.
A product that clears the bar of a class other than its label's is a candidate. Only out-of-fold probabilities will do:
a model that has trained on a label repeats it.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts.schemas import ISSUES_SCHEMA
from pipeline_lib.evaluation.summary import labelled
from pipeline_lib.metrics.classification import Labels, Probabilities


def suggested_labels(truth: Labels, probabilities: Probabilities) -> Labels:
    """Return for each product the likeliest class whose bar it clears, -1 where it clears none, (products,).

    Equal probabilities go to the first class; a class without products has no bar and is never suggested.
    """
    num_classes = probabilities.shape[1]
    own = np.take_along_axis(probabilities, truth[:, None], axis=1)[:, 0].astype(np.float64)
    support = np.bincount(truth, minlength=num_classes)
    bars = np.bincount(truth, weights=own, minlength=num_classes) / np.maximum(support, 1)
    clears = (probabilities >= np.where(support > 0, bars, np.inf)) & (probabilities > 0)
    best: NDArray[np.int64] = np.where(clears, probabilities, -1.0).argmax(axis=1)
    return np.where(clears.any(axis=1), best, -1)


def label_issues(predictions: pl.DataFrame, classes: Sequence[str]) -> pl.DataFrame:
    """Return ISSUES_SCHEMA rows of the out-of-fold products whose suggested label is not theirs, the surest first.

    The surest is the one whose suggestion is the most likely compared with its label: the difference of the two.
    """
    known = predictions.filter((pl.col("split") == "oof") & pl.col("label").is_in(list(classes)))
    part = labelled(predictions, classes, "oof")
    if not len(part.truth):
        return pl.DataFrame(schema=ISSUES_SCHEMA)
    suggested = suggested_labels(part.truth, part.probabilities)
    rows = np.flatnonzero((suggested >= 0) & (suggested != part.truth))
    found = known.select("product_id", "fold", "label")[rows].with_columns(
        suggested=pl.Series([classes[number] for number in suggested[rows]], dtype=pl.String),
        probability=pl.Series(part.probabilities[rows, suggested[rows]], dtype=pl.Float32),
        label_probability=pl.Series(part.probabilities[rows, part.truth[rows]], dtype=pl.Float32),
    )
    margin = pl.col("probability") - pl.col("label_probability")
    return (
        found.sort(margin, "product_id", descending=[True, False]).select(*ISSUES_SCHEMA).cast(pl.Schema(ISSUES_SCHEMA))
    )
