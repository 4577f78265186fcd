"""Compares the class predictions of two runs: a paired jackknife over the labelled products of both."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from pipeline_lib.evaluation.jackknife import paired_differences
from pipeline_lib.evaluation.summary import PUBLISHED, SPLITS, labelled, published
from pipeline_lib.experiments.compare.pairing import COMPARISON_SCHEMA, comparison_rows, unmatched

# The label is part of the key: a product whose label was corrected between two runs is not comparable.
KEY = ("split", "fold", "product_id", "label")
CLASSIFICATION = "classification"


def compare_products(
    scores_a: pl.DataFrame,
    scores_b: pl.DataFrame,
    classes: Sequence[str],
) -> pl.DataFrame:
    """Return COMPARISON_SCHEMA rows: for each split and figure, b minus a, its interval and the verdict.

    Both tables are `class_scores.parquet` of a run with the same `classes`. Raises ValueError if they do not hold the
    same products with the same labels.
    """
    missing, added = unmatched(scores_a, scores_b, KEY)
    if missing or added:
        raise ValueError(
            f"the runs do not have the same labelled products: {missing} only in a, {added} only in b; compare runs of "
            "one catalogue, split and plan.folds"
        )
    rows: list[tuple[Any, ...]] = []
    for split in SPLITS:
        a, b = (labelled(table.sort(KEY), classes, split) for table in (scores_a, scores_b))
        number = len(a.truth)
        if not number:
            continue
        systems = published(a.scores), published(b.scores)
        gains = dict(zip(PUBLISHED, paired_differences(*systems, a.groups), strict=True))
        rows += comparison_rows(split, CLASSIFICATION, systems, gains, number)
    return pl.DataFrame(rows, schema=COMPARISON_SCHEMA, orient="row")
