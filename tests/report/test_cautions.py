"""What the headline says of figures that a random order reaches, too: by small galleries that are ranked here."""

import numpy as np
import polars as pl
import pytest
from scored_rows import scored

from pipeline_lib.artifacts.schemas import PREDICTIONS_SCHEMA
from pipeline_lib.evaluation.summary import classification_trees, left_out_lines, merged, retrieval_trees
from pipeline_lib.metrics.gallery_ranks import Gallery, rank_gallery
from pipeline_lib.report.cautions import cautions
from pipeline_lib.report.headline import NO_FIGURE, classification_rows, retrieval_rows, total_lines


def trees_of(texts, noise, split="test", folds=(None,)):
    """Metrics and intervals of a gallery with a product for each of `texts`, ranked by embeddings with some noise."""
    tables = []
    for fold in folds:
        rng = np.random.default_rng(len(texts) + (fold or 0))
        distinct = sorted(set(texts))
        queries = rng.standard_normal((len(distinct), 16)).astype(np.float32)
        own = queries[[distinct.index(text) for text in texts]]
        products = own + noise * rng.standard_normal(own.shape).astype(np.float32)
        ids = [f"{fold}-{row}" for row in range(len(texts))]
        pairs = [(text, product_id, 1) for text, product_id in zip(texts, ids, strict=True)]
        relevance = pl.DataFrame(pairs, schema=["query_id", "product_id", "grade"], orient="row")
        tables.append(rank_gallery(Gallery(split, fold, distinct, queries, ids, products), relevance))
    return retrieval_trees(pl.concat(tables), 200, 1)


def texts_of(row):
    return {figure.key: figure.text for figure in row.figures}


def test_ten_of_nine_products_are_no_figure():
    metrics, intervals = trees_of([f"thing {number}" for number in range(9)], noise=0.3)
    rows = retrieval_rows(metrics, intervals)
    for row in rows:
        shown = texts_of(row)
        assert [key for key, text in shown.items() if text == NO_FIGURE] == ["R@10", "MeanRecall"]
        assert shown["R@1"].endswith("%") and shown["num_gallery"] == "9"
    assert metrics["test"]["retrieval"]["text_to_image"]["chance"] == {"R@1": 0.111111, "R@5": 0.555556, "R@10": 1.0}
    lines = cautions(metrics, intervals)
    assert "Test, text → image: R@10 of 9 products is no figure: a random order reaches 100.0 %." in lines
    assert "Test, image → text: R@10 of 9 distinct queries is no figure: a random order reaches 100.0 %." in lines


@pytest.mark.parametrize(("split", "folds", "name"), [("test", (None,), "Test"), ("oof", (0, 1, 2), "Out of fold")])
def test_one_text_for_all_products_gets_a_caution_and_no_figure(split, folds, name):
    metrics, intervals = trees_of(["the same text"] * 9, 0.3, split, folds)
    assert metrics[split]["retrieval"]["text_to_image"]["R@1"] == 1
    for row in retrieval_rows(metrics, intervals):
        shown = texts_of(row)
        assert {shown[key] for key in shown.keys() - {"num_queries", "num_gallery"}} == {NO_FIGURE}
    first, *rest = cautions(metrics, intervals)
    assert first.startswith(f"{name}: 1 distinct query for 9 products of a gallery")
    assert f"{name}, text → image: R@1, R@5, R@10 of 9 products are no figures: a random order reaches 100.0 %." in rest


def test_many_products_on_few_texts_get_a_caution():
    metrics, intervals = trees_of([f"text {number % 12}" for number in range(240)], noise=0.1)
    (line,) = [line for line in cautions(metrics, intervals) if "distinct queries for" in line]
    assert line.startswith("Test: 12 distinct queries for 240 products of a gallery: many products share a text")


def test_a_collapsed_model_is_near_chance_and_a_good_one_is_not():
    texts = [f"text {number}" for number in range(200)]
    lines = cautions(*trees_of(texts, noise=1e4))
    assert any(line.startswith("Test, image → text: near chance: R@1 1.0 % (chance 0.5 %)") for line in lines)
    assert cautions(*trees_of(texts, noise=0.1)) == []


def test_totals_over_both_directions_are_no_figure_if_a_part_is():
    metrics, intervals = trees_of([f"thing {number}" for number in range(9)], noise=0.3)
    total = {"test": {"retrieval": {"total_mR": 0.9, "sum": 5.4}}}
    spans = {"test": {"retrieval": {"total_mR": [0.8, 1.0], "sum": [5.0, 5.6]}}}
    (line,) = total_lines(merged(metrics, total), merged(intervals, spans))
    assert line == "Test, both directions, in percent: total mR no figure, sum no figure"


def test_top_3_of_three_classes_is_no_figure():
    rows = [(f"p{i}", "test", None, "abc"[i % 3], "a", [0.4, 0.3, 0.3], f"p{i}") for i in range(30)]
    predictions = scored(pl.DataFrame(rows, schema=PREDICTIONS_SCHEMA, orient="row"), ["a", "b", "c"])
    lines = cautions(*classification_trees(predictions, ["a", "b", "c"]))
    assert lines[0] == "Test: Top-3 of so few classes is no figure: a random order reaches 100.0 %."
    assert lines[1] == "Test: near chance: Top-1 33.3 % (chance 33.3 %)."


def test_products_of_a_class_that_was_not_learned_are_counted_first():
    rows = [(f"p{i}", "test", None, "abd"[i % 3], "a", [0.9, 0.1, 0.0], f"p{i}") for i in range(30)]
    rows.append(("p30", "test", None, None, "a", [0.9, 0.1, 0.0], "p30"))
    predictions = scored(pl.DataFrame(rows, schema=PREDICTIONS_SCHEMA, orient="row"), ["a", "b", "c"])
    lines = cautions(*classification_trees(predictions, ["a", "b", "c"]))
    reason = "because no model that predicts them was trained on their class"
    assert lines[0] == f"Test: labelled products in no class figure, {reason}: 10."
    assert left_out_lines(predictions, ["a", "b", "c"]) == [
        "test: products in no classification figure: 1 without a label, 10 whose class no model that predicts them was "
        "trained on"
    ]
    unlearned = predictions.filter(pl.col("label") == "d")
    assert cautions(*classification_trees(unlearned, ["a", "b", "c"])) == lines[:1]
    assert classification_rows(*classification_trees(unlearned, ["a", "b", "c"])) == []


def composed_leaf(values, chance):
    return values | {"num_queries": 400, "num_gallery": 100, "chance": chance}


def test_composed_figures_near_chance_get_a_caution_unless_nothing_was_trained():
    leaf = composed_leaf({"R@1": 0.0125, "R_subset@1": 0.5, "R@5": 0.21}, {"R@1": 0.01, "R_subset@1": 0.2, "R@5": 0.2})
    metrics = {"composed": {kind: {"test": leaf} for kind in ("q_former", "image_only")}}
    intervals = {"composed": {"q_former": {"test": {"R@1": [0.004, 0.04], "R_subset@1": [0.45, 0.55]}}}}
    assert cautions(metrics, intervals) == [
        "Test, Q-Former, composed: near chance: R@1 1.2 % (chance 1.0 %), R@5 21.0 % (chance 20.0 %)."
    ]


def test_if_all_of_many_composed_figures_are_near_chance_one_stands_for_them():
    names = ("mean", "R@1", "R@5", "R@10", "R_subset@1")
    leaf = composed_leaf(dict.fromkeys(names, 0.2), dict.fromkeys(names, 0.21))
    (line,) = cautions({"composed": {"sum": {"oof": leaf}}}, {})
    assert line == "Out of fold, Sum, composed: near chance: all 5 figures, such as Mean 20.0 % (chance 21.0 %)."


def test_composed_figures_that_a_random_order_reaches_are_no_figures():
    leaf = composed_leaf({"R@1": 0.5, "R@10": 1.0}, {"R@1": 0.1, "R@10": 1.0})
    (line,) = cautions({"composed": {"sum": {"test": leaf}}}, {})
    assert line == "Test, Sum, composed: R@10 of so few candidates is no figure: a random order reaches 100.0 %."
