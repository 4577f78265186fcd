"""Columns of the tables that ensemble and evaluate write and the report reads.

This module contains no code, so a stage that reads a table does not depend on the code that wrote it.
"""

import polars as pl

Schema = dict[str, "pl.DataType | type[pl.DataType]"]

# Tables of the stage frames.
FRAMES_TABLE, CLIPS_TABLE = "frames.parquet", "clips.parquet"
# One row is one frame of a clip that is used: its number and time in seconds from the clip's first frame on, and where
# its JPEG is in the tars of the stage frames.
FRAMES_SCHEMA: Schema = {
    "media": pl.String,
    "frame": pl.Int64,
    "time": pl.Float64,
    "tar": pl.String,
    "offset": pl.Int64,
    "size": pl.Int64,
    "width": pl.Int64,
    "height": pl.Int64,
}
# One row is one clip: the number of its frames in the tars, its duration in seconds, and the hash of the file. `reason`
# and `value` say why a clip is not used, `note` and `note_value` what is unusual about one that is. `thumbnail` is that
# of its frames side by side in the form of a photo's thumbnail, null for a clip that is not used.
CLIPS_SCHEMA: Schema = {
    "media": pl.String,
    "frames": pl.Int64,
    "duration": pl.Float64,
    "content": pl.String,
    "reason": pl.String,
    "value": pl.String,
    "note": pl.String,
    "note_value": pl.String,
    "thumbnail": pl.Binary,
}
# `rank` is the expected rank of the best right answer. `tied_right` right answers, this one included, and `tied_wrong`
# other items share its score. `num_right` right answers are in the gallery.
RANKS_SCHEMA: Schema = {
    "split": pl.String,
    "direction": pl.String,
    "query_id": pl.String,
    "fold": pl.Int64,
    "rank": pl.Float64,
    "num_gallery": pl.Int64,
    "group_id": pl.String,
    "num_right": pl.Int64,
    "tied_right": pl.Int64,
    "tied_wrong": pl.Int64,
}
# One row is one answered composed query. The first columns are those of RANKS_SCHEMA, with the targets (the products of
# its highest grade) as right answers; `answer_*` are the same with every relevant product as a right answer, `subset_*`
# within the query's subset (null without one). `ap` and `chance_ap` are the average precision at COMPOSED_PRECISIONS
# over every relevant product, and that of a random order. `first_product_id` is the best answer.
COMPOSED_RANKS_SCHEMA: Schema = RANKS_SCHEMA | {
    "category": pl.String,
    "answer_rank": pl.Float64,
    "answer_num_right": pl.Int64,
    "answer_tied_right": pl.Int64,
    "answer_tied_wrong": pl.Int64,
    "subset_rank": pl.Float64,
    "subset_num_gallery": pl.Int64,
    "subset_num_right": pl.Int64,
    "subset_tied_right": pl.Int64,
    "subset_tied_wrong": pl.Int64,
    "ap": pl.List(pl.Float64),
    "chance_ap": pl.List(pl.Float64),
    "first_product_id": pl.String,
}
COMPOSED_PRECISIONS = (5, 10, 25, 50)
RANKINGS_SCHEMA: Schema = {
    "query_id": pl.String,
    "split": pl.String,
    "fold": pl.Int64,
    "rank": pl.Int64,
    "product_id": pl.String,
    "score": pl.Float32,
}
# The best products of a composed query by one kind of model, `composed_KIND`.
COMPOSED_BEST_SCHEMA: Schema = {"direction": pl.String, **RANKINGS_SCHEMA}
# How far composed.fusion changes each patch of a query's reference: `rows` rows of patches one after another.
COMPOSED_GATES_SCHEMA: Schema = {"query_id": pl.String, "rows": pl.Int64, "gate": pl.List(pl.Float32)}
PREDICTIONS_SCHEMA: Schema = {
    "product_id": pl.String,
    "split": pl.String,
    "fold": pl.Int64,
    "label": pl.String,
    "predicted": pl.String,
    "probabilities": pl.List(pl.Float32),
    "group_id": pl.String,
}
# What figures and pages need of a row of PREDICTIONS_SCHEMA, without a value for each class. `confidence` is the
# probability of `predicted`. The true class's probability and its rank, from 1, are null if no model learned it.
CLASS_SCORES_SCHEMA: Schema = {
    "product_id": pl.String,
    "split": pl.String,
    "fold": pl.Int64,
    "label": pl.String,
    "predicted": pl.String,
    "confidence": pl.Float32,
    "label_probability": pl.Float32,
    "label_rank": pl.Int64,
    "group_id": pl.String,
}
# One row is one query with a product that people judged right on the search page, of those that the gallery has.
# `preference` is null without a wrong product. `fingerprint` is the hash of the judged products and their grades: two
# runs can be compared in a query where it is equal. `ranked` has these products, the best score first, `right` those
# that are right.
JUDGED_QUERIES_SCHEMA: Schema = {
    "query": pl.String,
    "ndcg": pl.Float64,
    "preference": pl.Float64,
    "num_right": pl.Int64,
    "num_wrong": pl.Int64,
    "fingerprint": pl.String,
    "ranked": pl.List(pl.String),
    "right": pl.List(pl.String),
}
# The negatives that train.mining=hard found with the embeddings of an epoch, for the batches of the next one.
MINED_SCHEMA: Schema = {
    "epoch": pl.Int64,
    "product_id": pl.String,
    "text": pl.String,
    "rank": pl.Int64,
    "negative_id": pl.String,
    "negative_text": pl.String,
    "similarity": pl.Float32,
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
# One row is one product at one scale; a null scale is the published fusion. Probabilities follow classes.json; the
# written table has them as fixed-size lists.
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
# `gain` is the figure of the trained models minus that of the baseline, by the paired jackknife.
BASELINES_SCHEMA: Schema = {
    "split": pl.String,
    "baseline": pl.String,
    "figure": pl.String,
    "value": pl.Float64,
    "gain": pl.Float64,
    "gain_low": pl.Float64,
    "gain_high": pl.Float64,
}
# Accuracy from the image, from the text and from both; `gain` is both minus the `better` of the two. `missed` products
# are misclassified by the better modality; `found` of them are classified correctly by the other one.
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
# Counts of the cosines of queries with products in bins low <= cosine < high; `pair` is positive (a right answer) or
# negative. Out of fold, the galleries of all folds are added up.
SIMILARITY_SCHEMA: Schema = {
    "split": pl.String,
    "pair": pl.String,
    "low": pl.Float64,
    "high": pl.Float64,
    "count": pl.Int64,
}
# How many `products` are among the first 10 of so many (`times`) text queries.
OCCURRENCE_SCHEMA: Schema = {"split": pl.String, "times": pl.Int64, "products": pl.Int64}
# The products that are most often among the first 10, of `num_queries` queries in the gallery.
HUBS_SCHEMA: Schema = {
    "split": pl.String,
    "fold": pl.Int64,
    "product_id": pl.String,
    "times": pl.Int64,
    "num_queries": pl.Int64,
}
# A product's photo, or a text that it answers, in a plane. `explained` is the share of the variance that the plane of a
# PCA has; null for another projection.
MAP_SCHEMA: Schema = {
    "split": pl.String,
    "fold": pl.Int64,
    "projection": pl.String,
    "modality": pl.String,
    "product_id": pl.String,
    "label": pl.String,
    "x": pl.Float64,
    "y": pl.Float64,
    "explained": pl.Float64,
}
# Columns of the catalogue's and the folds' tables, of the shards' manifest and of a store's ids.
_INPUT_COLUMNS: Schema = {
    "product_id": pl.String,
    "media": pl.List(pl.String),
    "text": pl.String,
    "label": pl.String,
    "group_id": pl.String,
    "fold_group_id": pl.String,
    "split": pl.String,
    "fold": pl.Int64,
    "content": pl.List(pl.String),
    "query_id": pl.String,
    "kind": pl.String,
    "reference_product_id": pl.String,
    "subset": pl.List(pl.String),
    "grade": pl.Int64,
    "slice": pl.String,
    "row": pl.Int64,
    "reason": pl.String,
    "value": pl.String,
    "action": pl.String,
    "other_product_id": pl.String,
    "shard": pl.String,
    "photo": pl.Int64,
    "offset": pl.Int64,
    "size": pl.Int64,
    "width": pl.Int64,
    "height": pl.Int64,
    "id": pl.String,
    "tokens": pl.Int64,
}
# Table of a catalogue or of folds -> the columns without which it is none.
TABLE_COLUMNS = {
    "products.parquet": ("product_id",),
    "media.parquet": ("product_id", "media"),
    "queries.parquet": ("query_id", "kind", "text", "split"),
    "relevance.parquet": ("query_id", "product_id", "grade"),
    "query_slices.parquet": ("query_id", "slice"),
    "folds.parquet": ("product_id", "split", "fold"),
}
# Of composed queries; other readers of queries need neither a reference nor a subset.
COMPOSED_QUERY_COLUMNS = (*TABLE_COLUMNS["queries.parquet"], "reference_product_id", "subset")
_PARQUET_COLUMNS = (
    _INPUT_COLUMNS, RANKS_SCHEMA, COMPOSED_RANKS_SCHEMA, RANKINGS_SCHEMA, COMPOSED_BEST_SCHEMA, COMPOSED_GATES_SCHEMA,
)  # fmt: skip
_Types = dict[str, list["pl.DataType | type[pl.DataType]"]]
# Name of a column -> its types in the Parquet tables of stages, one or two; and in the tables of frames and clips.
COLUMN_TYPES: _Types = {
    name: list(dict.fromkeys(schema[name] for schema in _PARQUET_COLUMNS if name in schema))
    for name in sorted({name for schema in _PARQUET_COLUMNS for name in schema})
}
CLIP_TYPES: _Types = {name: [kind] for name, kind in (FRAMES_SCHEMA | CLIPS_SCHEMA).items()}
# Format of MUGE's prediction files -> the keys of a line: the query's id, and the ids of its best images, best first.
PREDICTION_KEYS = {"muge": ("query_id", "item_ids"), "chinese_clip": ("text_id", "image_ids")}
PREDICTION_DEPTH = 10
# Metric of a prediction file of CIRR -> the number of names that its server wants of a pair; CIRCO's wants 50 images.
CIRR_VERSION = "rc2"
CIRR_DEPTHS = {"recall": 50, "recall_subset": 3}
CIRCO_DEPTH = 50
