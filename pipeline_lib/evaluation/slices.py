"""Classification figures by modality: products with photo and text, with photos only, with text only.

A classifier that relies on one modality can look good overall and fail where that modality is missing. If all products
of a split have the same modalities, the slice would equal the split, so it is not published.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from pipeline_lib.evaluation.summary import SPLITS, Labelled, labelled, with_intervals
from pipeline_lib.metrics.classification import CLASS_FIGURES, class_statistic

Tree = dict[str, Any]
MODALITIES = ("both", "image_only", "text_only")
SLICE_FIGURES = ("top1", "macro_f1")


def modalities(products: pl.DataFrame) -> pl.DataFrame:
    """Return product_id and modality (one of MODALITIES; null for neither) of the catalogue's products.

    The model gets a black photo for a product without media, and an empty text for one without text.
    """
    image, text = pl.col("media").list.len() > 0, pl.col("text").fill_null("").str.strip_chars() != ""
    kind = pl.when(image & text).then(pl.lit("both")).when(image).then(pl.lit("image_only"))
    return products.select("product_id", modality=kind.when(text).then(pl.lit("text_only")))


def modality_trees(predictions: pl.DataFrame, classes: Sequence[str], kinds: pl.DataFrame) -> tuple[Tree, Tree]:
    """Return {split: {classification_by_modality: {modality: figures}}} and the same tree of intervals.

    `kinds` is what `modalities` returns. Figures are SLICE_FIGURES and num_products.
    """
    figures: Tree = {}
    intervals: Tree = {}
    joined = predictions.join(kinds, on="product_id", how="left", maintain_order="left")
    for split in SPLITS:
        parts = {kind: labelled(joined.filter(pl.col("modality") == kind), classes, split) for kind in MODALITIES}
        present = {kind: part for kind, part in parts.items() if len(part.truth)}
        if len(present) < 2:
            continue
        trees = {kind: _figures(part) for kind, part in present.items()}
        figures[split] = {"classification_by_modality": {kind: tree[0] for kind, tree in trees.items()}}
        intervals[split] = {"classification_by_modality": {kind: tree[1] for kind, tree in trees.items()}}
    return figures, intervals


def _figures(part: Labelled) -> tuple[Tree, Tree]:
    values, spans = with_intervals(class_statistic(part.scores), CLASS_FIGURES, part.groups)
    value = {name: values[name] for name in SLICE_FIGURES} | {"num_products": len(part.truth)}
    return value, {name: spans[name] for name in SLICE_FIGURES}
