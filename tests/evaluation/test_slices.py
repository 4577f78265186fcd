"""Figures by modality, and splits that have one modality only."""

import polars as pl
import pytest
from scored_rows import scored

from pipeline_lib.artifacts.schemas import PREDICTIONS_SCHEMA
from pipeline_lib.evaluation.slices import modalities, modality_trees

CLASSES = ["cup", "hat"]


@pytest.fixture
def kinds():
    rows = [
        ("a", ["a.jpg"], "red cup"),
        ("b", ["b.jpg"], ""),
        ("c", [], "hat"),
        ("d", ["d.jpg", "e.jpg"], "  "),
        ("e", ["e.jpg"], "blue hat"),
        ("f", [], None),
    ]
    schema = {"product_id": pl.String, "media": pl.List(pl.String), "text": pl.String}
    return modalities(pl.DataFrame(rows, schema=schema, orient="row"))


def predictions_of(*rows):
    probabilities = {"cup": [0.9, 0.1], "hat": [0.2, 0.8]}
    full = [(key, split, None, label, best, probabilities[best], key) for key, split, label, best in rows]
    return scored(pl.DataFrame(full, schema=PREDICTIONS_SCHEMA, orient="row"), CLASSES)


def test_the_kind_of_a_product_is_the_modalities_it_has(kinds):
    expected = {"a": "both", "b": "image_only", "c": "text_only", "d": "image_only", "e": "both", "f": None}
    assert dict(kinds.iter_rows()) == expected


def test_figures_are_those_of_the_slice(kinds):
    predictions = predictions_of(
        ("a", "oof", "cup", "cup"), ("b", "oof", "cup", "hat"), ("d", "oof", "cup", "cup"), ("e", "oof", "hat", "hat"),
        ("c", "oof", None, "hat"), ("f", "oof", "cup", "hat"),
    )  # fmt: skip
    figures, intervals = modality_trees(predictions, CLASSES, kinds)
    # c has no label; f has neither photo nor text.
    assert figures["oof"]["classification_by_modality"] == {
        "both": {"top1": 1.0, "macro_f1": 1.0, "num_products": 2},
        "image_only": {"top1": 0.5, "macro_f1": pytest.approx(2 / 3, abs=1e-6), "num_products": 2},
    }
    assert intervals["oof"]["classification_by_modality"]["both"] == {
        "top1": [0.012236, 1.0],
        "macro_f1": [0.012236, 1.0],
    }
    assert intervals["oof"]["classification_by_modality"]["image_only"]["top1"] == [0.001541, 0.998459]


def test_a_split_of_one_kind_has_no_slices(kinds):
    predictions = predictions_of(("a", "oof", "cup", "cup"), ("e", "oof", "hat", "cup"), ("b", "test", "hat", "cup"))
    assert modality_trees(predictions, CLASSES, kinds) == ({}, {})
    assert modality_trees(predictions.clear(), [], kinds) == ({}, {})
