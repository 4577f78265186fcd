"""Plot tables by hand."""

import numpy as np
import polars as pl
from scored_rows import ranks_frame, scores_frame

from pipeline_lib.artifacts.io import write_table
from pipeline_lib.evaluation.plot_tables import confusion_table, curve_table, per_class_table

CLASSES = ["cup", "hat", "mug"]


def test_the_curve_has_every_cutoff():
    curve = curve_table(ranks_frame())
    oof = curve.filter(pl.col("split") == "oof")
    assert oof["k"].to_list() == list(range(1, 101))
    assert oof["recall"].to_list()[:11] == [0.25, 0.5, 0.5, 0.5, 0.5, 0.5, 0.75, 0.75, 0.75, 0.75, 1.0]
    test = curve.filter(pl.col("split") == "test")
    assert test["direction"].unique().to_list() == ["image_to_text"]
    assert test["k"].to_list() == list(range(1, 51))  # the gallery has 50


def test_confusion_lists_the_pairs_that_occur():
    table = confusion_table(scores_frame(), CLASSES)
    assert table.rows() == [("oof", "cup", "cup", 1), ("oof", "hat", "mug", 1)]
    assert confusion_table(scores_frame().clear(), CLASSES).height == 0


def test_the_file_of_confusions_has_the_non_zero_cells_of_the_matrix_row_by_row(tmp_path):
    rng = np.random.default_rng(0)
    classes = ["b", "a", "d", "c"]
    truth, predicted = (rng.choice(classes, 60).tolist() for _ in range(2))
    frame = scores_frame()[[0] * 60].with_columns(label=pl.Series(truth), predicted=pl.Series(predicted))
    write_table(confusion_table(frame, classes), tmp_path / "confusion.csv")
    lines = ["split,truth,predicted,count"]
    for true in classes:
        for other in classes:
            count = sum(pair == (true, other) for pair in zip(truth, predicted, strict=True))
            lines += [f"oof,{true},{other},{count}"] if count else []
    assert (tmp_path / "confusion.csv").read_text(encoding="utf-8").splitlines() == lines


def test_per_class_rows_name_the_split():
    table = per_class_table(scores_frame(), CLASSES)
    assert table.rows() == [
        ("oof", "cup", 1.0, 1.0, 1.0, 1),
        ("oof", "hat", 0.0, 0.0, 0.0, 1),
        ("oof", "mug", 0.0, 0.0, 0.0, 0),
    ]
