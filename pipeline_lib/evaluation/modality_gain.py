"""Does the second modality tell what the first does not? Three classifiers on the same products, side by side.

One reads the photos, one the texts, one both; the difference of the last to the better of the others has the interval
of the paired bootstrap. Why it is small, where it is, the overlap tells: how often the weaker one is right where the
better one is wrong. If that is rarer than it is right elsewhere, both find the same products hard.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.artifacts.schemas import MODALITY_GAIN_SCHEMA
from pipeline_lib.evaluation.bootstrap import paired_differences
from pipeline_lib.evaluation.summary import DIGITS, SPLITS, labelled
from pipeline_lib.metrics.classification import Probabilities
from pipeline_lib.metrics.weighted import Counts, Statistic, weighted_means

Scores = dict[str, Probabilities]


def modality_gain(
    predictions: pl.DataFrame,
    image: Scores,
    text: Scores,
    both: Scores,
    classes: Sequence[str],
    resamples: int,
    seed: int,
) -> pl.DataFrame:
    """Return MODALITY_GAIN_SCHEMA rows, one a split, of the classifiers that read image, text, and both.

    Scores are (products, classes) by split, a row for each product that `labelled` returns, in its order.
    """
    rows = []
    for split in SPLITS:
        own = labelled(predictions, classes, split)
        truth = own.truth
        if not len(truth) or not (split in image and split in text and split in both):
            continue
        right = {name: scores[split].argmax(axis=1) == truth for name, scores in (("image", image), ("text", text))}
        joint = both[split].argmax(axis=1) == truth
        better, other = sorted(right, key=lambda name: -right[name].mean())
        gain = paired_differences(_share(right[better]), _share(joint), len(truth), resamples, seed, own.groups)[0]
        missed = ~right[better]
        shares = [right["image"].mean(), right["text"].mean(), joint.mean(), *gain[:3]]
        counts = [len(truth), int(missed.sum()), int((missed & right[other]).sum())]
        rows.append((split, better, *np.round(shares, DIGITS).tolist(), *counts))
    return pl.DataFrame(rows, schema=MODALITY_GAIN_SCHEMA, orient="row")


def _share(right: NDArray[np.bool_]) -> Statistic:
    hits = right.astype(np.float64)[:, None]

    def share(counts: Counts) -> NDArray[np.float64]:
        return weighted_means(hits, counts)

    return share
