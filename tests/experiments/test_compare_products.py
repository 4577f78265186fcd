"""Class predictions of two runs: figures equal those of the metrics file, differences are over equal products."""

import numpy as np
import polars as pl
import pytest
from scored_rows import scored

from pipeline_lib.artifacts.schemas import PREDICTIONS_SCHEMA
from pipeline_lib.evaluation.summary import PUBLISHED, classification_trees
from pipeline_lib.experiments.compare.pairing import COMPARISON_SCHEMA, NO_DIFFERENCE
from pipeline_lib.experiments.compare.products import compare_products

CLASSES = ["cup", "hat", "mug"]


def predictions(confidence: float, seed: int = 0, count: int = 300, split: str = "oof") -> pl.DataFrame:
    """Predictions of products whose labels depend neither on the confidence nor on the seed."""
    truth = np.random.default_rng(9).integers(0, 3, count)
    shares = np.random.default_rng(seed).dirichlet(np.ones(3), count) + confidence * np.eye(3)[truth]
    shares /= shares.sum(axis=1, keepdims=True)
    rows = [
        (f"p{n}", split, n % 3, CLASSES[truth[n]], CLASSES[shares[n].argmax()], shares[n].tolist(), f"g{n}")
        for n in range(count)
    ]
    return scored(pl.DataFrame(rows, schema=PREDICTIONS_SCHEMA, orient="row"), CLASSES)


def test_values_are_those_of_the_metrics_file():
    a, b = predictions(0.2), predictions(0.8, seed=1)
    table = compare_products(a, b, CLASSES)
    assert table.schema == COMPARISON_SCHEMA and table["metric"].to_list() == list(PUBLISHED)
    for name, run in (("a", a), ("b", b)):
        figures = classification_trees(run, CLASSES)[0]["oof"]["classification"]
        expected = {metric: figures[metric] for metric in PUBLISHED}
        assert dict(table.select("metric", name).rows()) == pytest.approx(expected, abs=1e-6)
    assert (table["difference"] - (table["b"] - table["a"])).abs().max() < 1e-9


def test_a_real_gain_is_significant_and_a_lower_calibration_error_is_better():
    plain, better = predictions(0.1), predictions(0.9, seed=1)
    verdicts = dict(compare_products(plain, better, CLASSES).select("metric", "verdict").rows())
    assert verdicts["top1"] == verdicts["macro_f1"] == "b is better"
    rough = plain.with_columns(confidence=pl.lit(1, pl.Float32))
    row = compare_products(rough, plain, CLASSES).row(by_predicate=pl.col("metric") == "ece", named=True)
    assert row["b"] < row["a"] and row["verdict"] == "b is better"


def test_noise_is_not_significant_and_row_order_does_not_matter():
    run = predictions(0.3)
    assert set(compare_products(run, predictions(0.3, seed=1), CLASSES)["verdict"]) == {"no significant difference"}
    same = compare_products(run, run.reverse(), CLASSES)
    assert same["difference"].to_list() == [0] * 5 and set(same["verdict"]) == {NO_DIFFERENCE}


def test_each_split_has_its_rows_and_one_without_labels_has_none():
    test = predictions(0.3, split="test").with_columns(fold=pl.lit(None, pl.Int64))
    both = pl.concat([predictions(0.3), test])
    assert compare_products(both, both, CLASSES)["split"].to_list() == ["oof"] * 5 + ["test"] * 5
    unlabelled = pl.concat([predictions(0.3), test.with_columns(label=pl.lit(None, pl.String))])
    assert compare_products(unlabelled, unlabelled, CLASSES)["split"].to_list() == ["oof"] * 5


def test_other_products_and_corrected_labels_are_refused():
    run = predictions(0.3)
    with pytest.raises(ValueError, match="1 only in a, 0 only in b"):
        compare_products(run, run.head(299), CLASSES)
    corrected = run.with_columns(label=pl.when(pl.col("product_id") == "p7").then(pl.lit("new")).otherwise("label"))
    with pytest.raises(ValueError, match="1 only in a, 1 only in b"):
        compare_products(run, corrected, CLASSES)
