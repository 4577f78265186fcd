"""The published trees of figures and intervals."""

import numpy as np
import polars as pl
import pytest
from scored_rows import ranks_frame, scored, scores_frame

from pipeline_lib.artifacts.schemas import PREDICTIONS_SCHEMA, RANKS_SCHEMA
from pipeline_lib.evaluation.summary import classification_trees, labelled, merged, retrieval_trees

CLASSES = ["cup", "hat", "mug"]


def test_retrieval_tree_has_exactly_the_published_leaves():
    figures, intervals = retrieval_trees(ranks_frame(), 200, seed=1)
    assert figures["oof"] == {
        "retrieval": {
            "text_to_image": {
                "R@1": 0.25,
                "R@5": 0.5,
                "R@10": 0.75,
                "MeanRecall": 0.5,
                "median_rank": 4.5,
                "mean_rank": 5.25,
                "num_queries": 4,
                "num_gallery": 125,
                # Three queries with one right answer of 100, one with one of 201.
                "chance": {f"R@{k}": round((3 * k / 100 + k / 201) / 4, 6) for k in (1, 5, 10)},
            }
        }
    }
    assert list(figures["test"]["retrieval"]) == ["image_to_text"]
    leaves = intervals["oof"]["retrieval"]["text_to_image"]
    assert set(leaves) == set(figures["oof"]["retrieval"]["text_to_image"]) - {"num_queries", "num_gallery", "chance"}
    for name, (low, high) in leaves.items():
        assert low <= figures["oof"]["retrieval"]["text_to_image"][name] <= high
    assert intervals["test"]["retrieval"]["image_to_text"]["R@1"] == [0.139452, 1.0]  # Wilson, two of two


def test_classification_counts_only_products_with_a_known_label():
    figures, intervals = classification_trees(scores_frame(), CLASSES)
    # One is right with 0.8, one wrong with 0.6: gaps of 0.2 and 0.6, each for half of the products.
    expected = {"top1": 0.5, "top3": 1.0, "macro_f1": 0.5, "balanced_accuracy": 0.5, "ece": 0.4}
    expected |= {"num_products": 2, "num_unlearned": 1, "chance": {"top1": round(1 / 3, 6), "top3": 1.0}}
    assert figures == {"oof": {"classification": expected}}
    assert intervals["oof"]["classification"]["top1"] == [0.001541, 0.998459]  # Wilson, one of two
    low, high = intervals["oof"]["classification"]["ece"]
    assert low <= 0.4 <= high
    part = labelled(scores_frame(), CLASSES, "oof")
    assert (part.truth.tolist(), part.unlearned, part.unlabelled) == ([0, 1], 1, 1)
    assert part.scores.ranks.tolist() == [0, 1] and part.scores.num_classes == 3


def test_without_classes_there_is_no_branch():
    assert classification_trees(scores_frame().clear(), []) == ({}, {})
    assert retrieval_trees(pl.DataFrame(schema=RANKS_SCHEMA), 200, seed=1) == ({}, {})


def test_trees_merge_level_by_level():
    left = {"oof": {"retrieval": {"x": 1}}}
    assert merged(left, {"oof": {"classification": 2}}, {"data": 3}) == {
        "oof": {"retrieval": {"x": 1}, "classification": 2},
        "data": 3,
    }
    assert left == {"oof": {"retrieval": {"x": 1}}}


def test_figures_are_rounded_for_stable_diffs():
    ranks = ranks_frame().head(3)
    figures, _ = retrieval_trees(ranks, 200, seed=1)
    assert figures["oof"]["retrieval"]["text_to_image"]["R@1"] == pytest.approx(1 / 3, abs=1e-6)
    assert figures["oof"]["retrieval"]["text_to_image"]["R@1"] == 0.333333


def test_products_of_one_group_are_drawn_together():
    rng = np.random.default_rng(4)
    rows = [(f"p{n:03}", "oof", 0, "cup" if n % 2 else "hat", "cup", rng.dirichlet([1, 1]).tolist()) for n in range(60)]
    predictions = pl.DataFrame([(*row, row[0]) for row in rows], schema=PREDICTIONS_SCHEMA, orient="row")
    alone = scored(predictions, ["cup", "hat"])
    # A duplicate of every product with the same prediction adds no information: figures and intervals are equal.
    twice = pl.concat([alone, alone.with_columns(product_id=pl.col("product_id") + "-again")])
    (figures, _), (doubled, _) = found = [classification_trees(one, ["cup", "hat"]) for one in (alone, twice)]
    assert figures["oof"]["classification"].pop("num_products") == 60
    assert doubled["oof"]["classification"].pop("num_products") == 120
    assert found[0] == found[1]
    apart = twice.with_columns(group_id="product_id")
    _, narrow = classification_trees(apart, ["cup", "hat"])
    _, wide = classification_trees(alone, ["cup", "hat"])
    (low, high), (first, last) = (spans["oof"]["classification"]["top1"] for spans in (narrow, wide))
    assert high - low < 0.85 * (last - first)
