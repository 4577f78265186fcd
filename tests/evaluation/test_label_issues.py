"""Label issues by hand and against a slow loop."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored_rows import ranks_frame, scored

from pipeline_lib.artifacts import io, paths
from pipeline_lib.artifacts.schemas import CLASS_SCORES_SCHEMA, ISSUES_SCHEMA, PREDICTIONS_SCHEMA
from pipeline_lib.evaluation.label_issues import class_thresholds, label_issues, suggested_labels
from pipeline_lib.evaluation.plot_tables import write_plot_tables


def slow_suggestions(truth, probabilities):
    """Northcutt et al. 2021, equations 1 and 2, one product and one class at a time."""
    num_classes = probabilities.shape[1]
    thresholds = {
        j: np.mean([row[j] for label, row in zip(truth, probabilities, strict=True) if label == j])
        for j in range(num_classes)
        if j in truth
    }
    suggestions = []
    for row in probabilities:
        reached = [j for j in range(num_classes) if j in thresholds and row[j] >= thresholds[j]]
        suggestions.append(max(reached, key=lambda j: row[j]) if reached else -1)
    return suggestions


def suggestions(truth, probabilities):
    thresholds = class_thresholds(truth, probabilities[np.arange(len(truth)), truth], probabilities.shape[1])
    return suggested_labels(probabilities, thresholds)


def test_hand_worked_table():
    truth = np.array([0, 0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.45, 0.55]])
    # Thresholds: class 0 (0.9 + 0.8 + 0.1) / 3 = 0.6, class 1 0.625; the last product reaches neither.
    assert suggestions(truth, probabilities).tolist() == [0, 0, 1, 1, -1]


@given(st.integers(0, 2**32 - 1), st.integers(1, 25), st.integers(2, 5))
def test_equals_a_slow_loop(seed, count, num_classes):
    rng = np.random.default_rng(seed)
    truth, probabilities = rng.integers(0, num_classes, count), rng.dirichlet(np.ones(num_classes), count)
    # The threshold of one product is its own probability, so sums must be equal to the last digit.
    assert suggestions(truth, probabilities).tolist() == slow_suggestions(truth, probabilities)


def rows_of(*rows):
    full = [(key, split, 0, label, "cup", list(row), key) for key, split, label, row in rows]
    return pl.DataFrame(full, schema=PREDICTIONS_SCHEMA, orient="row")


def issues_of(predictions, folder):
    predictions.write_parquet(folder / "probabilities.parquet")
    return label_issues(scored(predictions, ["cup", "hat"]), folder / "probabilities.parquet", ["cup", "hat"])


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_candidates_are_out_of_fold_and_the_largest_margin_first(rows, tmp_path, monkeypatch):
    """The blocks of rows in which the probabilities are read do not matter."""
    monkeypatch.setattr(io, "BLOCK_VALUES", 2 * rows)
    predictions = rows_of(
        ("a", "oof", "cup", [0.9, 0.1]), ("b", "oof", "cup", [0.3, 0.7]), ("c", "oof", "cup", [0.1, 0.9]),
        ("d", "oof", "hat", [0.4, 0.6]), ("e", "oof", None, [0.0, 1.0]), ("f", "test", "cup", [0.0, 1.0]),
        ("g", "oof", "sofa", [0.0, 1.0]),
    )  # fmt: skip
    issues = issues_of(predictions, tmp_path)
    assert issues.schema == ISSUES_SCHEMA
    assert issues.drop("probability", "label_probability").rows() == [("c", 0, "cup", "hat"), ("b", 0, "cup", "hat")]
    assert issues["probability"].to_list() == pytest.approx([0.9, 0.7])
    assert issues["label_probability"].to_list() == pytest.approx([0.1, 0.3])


def test_a_class_that_the_model_could_not_learn_is_no_issue(tmp_path):
    """Product c is the only cup outside its fold's training, so its model had to predict another class."""
    predictions = rows_of(("a", "oof", "cup", [0.6, 0.4]), ("b", "oof", "hat", [0.4, 0.6]), ("c", "oof", "cup", [0, 1]))
    predictions.write_parquet(tmp_path / "probabilities.parquet")
    unlearned = pl.col("product_id") == "c"
    nulls = [pl.when(~unlearned).then(pl.col(name)).alias(name) for name in ("label_probability", "label_rank")]
    scores = scored(predictions, ["cup", "hat"]).with_columns(nulls)
    assert label_issues(scores, tmp_path / "probabilities.parquet", ["cup", "hat"]).height == 0


def test_without_labels_there_are_no_issues(tmp_path):
    assert issues_of(rows_of(("a", "oof", None, [0.1, 0.9])), tmp_path).rows() == []
    assert label_issues(pl.DataFrame(schema=CLASS_SCORES_SCHEMA), tmp_path / "none", []).schema == ISSUES_SCHEMA


def test_ids_that_a_spreadsheet_would_run_are_noted_and_unchanged(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ENSEMBLE", tmp_path)
    predictions = rows_of(
        *((f"{sign}{number}", "oof", "cup", (0.9, 0.1)) for number, sign in enumerate("abc")),
        ("=1+1", "oof", "cup", (0.1, 0.9)),
        ("d", "oof", "hat", (0.2, 0.8)),
    )
    predictions.write_parquet(tmp_path / "probabilities.parquet")
    out = tmp_path / ".evaluation.712.part"
    out.mkdir()
    scores = scored(predictions, ["cup", "hat"])
    (note,) = write_plot_tables(out, ranks_frame(), scores, ["cup", "hat"], {})
    assert note.startswith(
        f"{tmp_path}/evaluation/label_issues.csv: 1 cells begin with =, +, - or @, the first in row 2"
    )
    assert pl.read_csv(out / "label_issues.csv")["product_id"].to_list() == ["=1+1"]
    safe = predictions.with_columns(pl.col("product_id").str.replace("=", "x"))
    safe.write_parquet(tmp_path / "probabilities.parquet")
    assert write_plot_tables(out, ranks_frame(), scored(safe, ["cup", "hat"]), ["cup", "hat"], {}) == []
