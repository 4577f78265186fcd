"""The classification figures of parts of a split: products with both modalities, with a photo only, with a text only.

A classifier that leans on one modality looks fine on the whole and fails where that modality is missing. Where all
products of a split are of one kind the slice would repeat the whole, so it is not published.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl

from pipeline_lib.evaluation.summary import PUBLISHED, SPLITS, Labelled, labelled, published, with_intervals

Tree = dict[str, Any]
MODALITIES = ("both", "image_only", "text_only")
SLICE_FIGURES = ("top1", "macro_f1")


def modalities(products: pl.DataFrame) -> pl.DataFrame:
    """Return product_id and modality (one of MODALITIES; null for neither) of the catalogue's products.

    A product without media is shown to the model as a black photo, one without text as an empty one.
    """
    image, text = pl.col("media").list.len() > 0, pl.col("text").fill_null("").str.strip_chars() != ""
    kind = pl.when(image & text).then(pl.lit("both")).when(image).then(pl.lit("image_only"))
    return products.select("product_id", modality=kind.when(text).then(pl.lit("text_only")))


def modality_trees(
    predictions: pl.DataFrame, classes: Sequence[str], kinds: pl.DataFrame, resamples: int, seed: int
) -> tuple[Tree, Tree]:
    """Return {split: {classification_by_modality: {modality: figures}}} and the same tree of intervals.

    `kinds` is what `modalities` returns. Figures are SLICE_FIGURES and num_products.
    """
    figures: Tree = {}
    intervals: Tree = {}
    told = predictions.join(kinds, on="product_id", how="left", maintain_order="left")
    for split in SPLITS:
        parts = {kind: labelled(told.filter(pl.col("modality") == kind), classes, split) for kind in MODALITIES}
        present = {kind: part for kind, part in parts.items() if len(part.truth)}
        if len(present) < 2:
            continue
        trees = {kind: _figures(part, resamples, seed) for kind, part in present.items()}
        figures[split] = {"classification_by_modality": {kind: tree[0] for kind, tree in trees.items()}}
        intervals[split] = {"classification_by_modality": {kind: tree[1] for kind, tree in trees.items()}}
    return figures, intervals


def _figures(part: Labelled, resamples: int, seed: int) -> tuple[Tree, Tree]:
    values, spans = with_intervals(published(part), PUBLISHED, part.groups, resamples, seed)
    value = {name: values[name] for name in SLICE_FIGURES} | {"num_products": len(part.truth)}
    return value, {name: spans[name] for name in SLICE_FIGURES}
