"""Ranks and predictions of a few queries and products, small enough to score by hand."""

import numpy as np
import polars as pl

from pipeline_lib.artifacts.schemas import CLASS_SCORES_SCHEMA, PREDICTIONS_SCHEMA, RANKS_SCHEMA


def scored(predictions, classes):
    """Return the CLASS_SCORES_SCHEMA rows of PREDICTIONS_SCHEMA rows, one at a time."""
    rows = []
    for row in predictions.iter_rows(named=True):
        shares = np.array(row["probabilities"], np.float32)
        own = rank = None
        if row["label"] in classes:
            own = shares[classes.index(row["label"])]
            rank = 1 + sorted(range(len(classes)), key=lambda n: -shares[n]).index(classes.index(row["label"]))
        rows.append(row | {"confidence": shares.max(), "label_probability": own, "label_rank": rank})
    columns = {name: [row[name] for row in rows] for name in CLASS_SCORES_SCHEMA}
    return pl.DataFrame(columns, schema=CLASS_SCORES_SCHEMA)


def ranks_frame():
    rows = [
        ("oof", "text_to_image", f"q{i}", i % 2, float(rank), size, f"g{i}", 1, 1, 0)
        for i, (rank, size) in enumerate([(1, 100), (2, 100), (7, 100), (11, 201)])
    ]
    rows += [("test", "image_to_text", f"p{i}", None, 1.0, 50, f"g{i}", 1, 1, 0) for i in range(3)]
    return pl.DataFrame(rows, schema=RANKS_SCHEMA, orient="row")


def scores_frame():
    """Return the class scores of five products of three classes."""
    rows = [
        ("a", "oof", 0, "cup", "cup", [0.8, 0.1, 0.1]),
        ("b", "oof", 1, "hat", "mug", [0.1, 0.3, 0.6]),
        ("c", "oof", 1, None, "cup", [0.8, 0.1, 0.1]),
        ("d", "oof", 1, "sofa", "cup", [0.8, 0.1, 0.1]),
        ("e", "test", None, None, "cup", [0.8, 0.1, 0.1]),
    ]
    frame = pl.DataFrame([(*row, row[0]) for row in rows], schema=PREDICTIONS_SCHEMA, orient="row")
    return scored(frame, ["cup", "hat", "mug"])
