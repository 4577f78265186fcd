"""Columns of the tables that pass from evaluation and ensemble to the report, each told once.

Plain columns and no code: a stage that reads a table need not hang on the code that made it.
"""

import polars as pl

Schema = dict[str, "pl.DataType | type[pl.DataType]"]

RANKS_SCHEMA: Schema = {
    "split": pl.String,
    "direction": pl.String,
    "query_id": pl.String,
    "fold": pl.Int64,
    "rank": pl.Float64,
    "num_gallery": pl.Int64,
    "group_id": pl.String,
}
RANKINGS_SCHEMA: Schema = {
    "query_id": pl.String,
    "split": pl.String,
    "fold": pl.Int64,
    "rank": pl.Int64,
    "product_id": pl.String,
    "score": pl.Float32,
}
PREDICTIONS_SCHEMA: Schema = {
    "product_id": pl.String,
    "split": pl.String,
    "fold": pl.Int64,
    "label": pl.String,
    "predicted": pl.String,
    "probabilities": pl.List(pl.Float32),
    "group_id": pl.String,
}
CURVE_SCHEMA: Schema = {"split": pl.String, "direction": pl.String, "k": pl.Int64, "recall": pl.Float64}
CONFUSION_SCHEMA: Schema = {"split": pl.String, "truth": pl.String, "predicted": pl.String, "count": pl.Int64}
CLASS_SCHEMA: Schema = {
    "split": pl.String,
    "label": pl.String,
    "precision": pl.Float64,
    "recall": pl.Float64,
    "f1": pl.Float64,
    "support": pl.Int64,
}
# One product at one scale; a null scale is the fusion of all that is published. Probabilities as in classes.json.
OOF_SCHEMA: Schema = {
    "id": pl.String,
    "fold": pl.Int64,
    "truth": pl.String,
    "scale": pl.Int64,
    "probabilities": pl.List(pl.Float32),
}
RELIABILITY_SCHEMA: Schema = {
    "split": pl.String,
    "calibrated": pl.Boolean,
    "bin": pl.Int64,
    "confidence": pl.Float64,
    "accuracy": pl.Float64,
    "count": pl.Int64,
}
ISSUES_SCHEMA: Schema = {
    "product_id": pl.String,
    "fold": pl.Int64,
    "label": pl.String,
    "suggested": pl.String,
    "probability": pl.Float32,
    "label_probability": pl.Float32,
}
# `gain` is the fine-tuned models' figure minus the baseline's, over the same products and the same draws of them.
BASELINES_SCHEMA: Schema = {
    "split": pl.String,
    "baseline": pl.String,
    "figure": pl.String,
    "value": pl.Float64,
    "gain": pl.Float64,
    "gain_low": pl.Float64,
    "gain_high": pl.Float64,
}
# Shares of products told rightly from image, from text and from both; `gain` is both minus the `better` of the two. Of
# the products that the better one gets wrong, `found` are told rightly by the other.
MODALITY_GAIN_SCHEMA: Schema = {
    "split": pl.String,
    "better": pl.String,
    "image": pl.Float64,
    "text": pl.Float64,
    "both": pl.Float64,
    "gain": pl.Float64,
    "gain_low": pl.Float64,
    "gain_high": pl.Float64,
    "products": pl.Int64,
    "missed": pl.Int64,
    "found": pl.Int64,
}
# Form of MUGE's prediction files -> the keys of a line: the query's id, and its best images, best first.
PREDICTION_KEYS = {"muge": ("query_id", "item_ids"), "chinese_clip": ("text_id", "image_ids")}
PREDICTION_DEPTH = 10
