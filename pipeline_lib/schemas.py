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
# Form of MUGE's prediction files -> the keys of a line: the query's id, and its best images, best first.
PREDICTION_KEYS = {"muge": ("query_id", "item_ids"), "chinese_clip": ("text_id", "image_ids")}
PREDICTION_DEPTH = 10
