"""The overlap of the modalities counted by hand, and the interval of the paired bootstrap."""

import numpy as np
import polars as pl
import pytest
from scored_rows import scored

from pipeline_lib.artifacts.schemas import MODALITY_GAIN_SCHEMA, PREDICTIONS_SCHEMA
from pipeline_lib.evaluation.jackknife import paired_differences
from pipeline_lib.evaluation.modality_gain import ModalityScores, modality_gain
from pipeline_lib.metrics.classification import ClassScores, class_statistic

CLASSES = ["cup", "hat"]
#         truth  image  text  both
TABLE = [
    ("cup", "cup", "cup", "cup"),
    ("cup", "hat", "cup", "cup"),
    ("hat", "hat", "hat", "hat"),
    ("hat", "cup", "hat", "cup"),
    ("cup", "cup", "hat", "cup"),
    ("hat", "cup", "cup", "cup"),
    ("hat", "cup", "cup", "hat"),
    ("cup", "hat", "cup", "cup"),
]


def scores_of(column: int) -> ClassScores:
    truth = np.array([CLASSES.index(row[0]) for row in TABLE])
    return ClassScores.of(truth, np.array([[0.7, 0.3] if row[column] == "cup" else [0.2, 0.8] for row in TABLE]))


def predictions(split: str = "oof") -> pl.DataFrame:
    rows = [(f"p{n}", split, 0, row[0], "cup", [0.5, 0.5], f"g{n}") for n, row in enumerate(TABLE)]
    # A product with an unknown label is in no figure.
    rows.insert(3, ("odd", split, 0, "boat", "cup", [0.5, 0.5], "odd"))
    return scored(pl.DataFrame(rows, schema=PREDICTIONS_SCHEMA, orient="row"), CLASSES)


def gain_of(image, text, both, split="oof"):
    scores = ModalityScores({split: image}, {split: text}, {split: both})
    return modality_gain(predictions(split), scores, CLASSES)


def test_shares_and_overlap_are_counted():
    image, text, both = (scores_of(column) for column in (1, 2, 3))
    table = gain_of(image, text, both)
    assert table.schema == MODALITY_GAIN_SCHEMA and len(table) == 1
    row = table.row(0, named=True)
    assert (row["split"], row["better"], row["products"]) == ("oof", "text", 8)
    # Text is wrong on three products; on one of these the image is right.
    assert (row["image"], row["text"], row["both"], row["missed"], row["found"]) == (3 / 8, 5 / 8, 6 / 8, 3, 1)
    assert row["gain"] == 1 / 8


def test_the_image_can_be_the_better_modality():
    text, image, both = (scores_of(column) for column in (1, 2, 3))
    row = gain_of(image, text, both, "test").row(0, named=True)
    assert (row["split"], row["better"], row["gain"], row["missed"], row["found"]) == ("test", "image", 1 / 8, 3, 1)


def test_the_interval_is_that_of_top1_of_the_paired_jackknife():
    image, text, both = (scores_of(column) for column in (1, 2, 3))
    expected = paired_differences(class_statistic(text), class_statistic(both), np.arange(8))[0]
    row = gain_of(image, text, both).row(0, named=True)
    assert (row["gain"], row["gain_low"], row["gain_high"]) == pytest.approx(expected, abs=1e-6)


def test_the_interval_of_two_groups_ends_where_a_gain_can():
    image, text, both = (scores_of(column) for column in (1, 2, 3))
    first = pl.col("product_id") < "p4"
    table = predictions().with_columns(group_id=first.cast(pl.String))
    found = modality_gain(table, ModalityScores({"oof": image}, {"oof": text}, {"oof": both}), CLASSES)
    # One degree of freedom: 12.7 standard deviations to each side.
    assert found.select("gain", "gain_low", "gain_high").row(0) == (1 / 8, -1.0, 1.0)


def test_without_all_three_there_is_no_row():
    image, text, both = (scores_of(column) for column in (1, 2, 3))
    for empty in ({}, {"test": image}):
        scores = ModalityScores(empty, {"oof": text}, {"oof": both})
        assert modality_gain(predictions(), scores, CLASSES).is_empty()
    none = ModalityScores({}, {}, {})
    assert modality_gain(predictions("val"), none, CLASSES).schema == MODALITY_GAIN_SCHEMA
