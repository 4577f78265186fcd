"""The class probabilities of two runs: a paired bootstrap over the labelled products both were asked about."""

from collections.abc import Sequence

import polars as pl

from pipeline_lib.evaluation.bootstrap import paired_differences
from pipeline_lib.evaluation.summary import PUBLISHED, SPLITS, labelled, published
from pipeline_lib.experiments.compare.pairing import COMPARISON_SCHEMA, apart, verdict
from pipeline_lib.metrics.weighted import point

# A label that was corrected between two runs makes another question of the product.
KEY = ("split", "fold", "product_id", "label")
FALLING_FIGURES = ("ece",)
CLASSIFICATION = "classification"


def compare_products(
    told_a: pl.DataFrame, told_b: pl.DataFrame, classes: Sequence[str], resamples: int = 2000, seed: int = 7
) -> pl.DataFrame:
    """Return COMPARISON_SCHEMA rows: for each split and figure, b minus a, its interval and the verdict.

    Both frames are `probabilities.parquet` of a run that tells the same `classes`. Raises ValueError if they do not
    hold the same products with the same labels.
    """
    missing, added = apart(told_a, told_b, KEY)
    if missing or added:
        raise ValueError(
            f"the runs were not asked about the same products: {missing} only in a, {added} only in b; compare runs of "
            "one catalogue, split and plan.folds"
        )
    rows = []
    for split in SPLITS:
        parts = [labelled(told.sort(KEY), classes, split) for told in (told_a, told_b)]
        number = len(parts[0].truth)
        if not number:
            continue
        first, second = (published(part) for part in parts)
        values_a, values_b = point(first, number), point(second, number)
        differences = paired_differences(first, second, number, resamples, seed, parts[0].groups)
        for metric, a, b, found in zip(PUBLISHED, values_a, values_b, differences, strict=True):
            said = verdict(found.low, found.high, metric in FALLING_FIGURES)
            rows.append((split, CLASSIFICATION, metric, a, b, found.difference, found.low, found.high, said))
    return pl.DataFrame(rows, schema=COMPARISON_SCHEMA, orient="row")
