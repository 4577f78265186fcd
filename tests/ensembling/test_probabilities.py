"""Fused class probabilities and their tables."""

import numpy as np
import polars as pl
import pytest
from scored_rows import scored

from pipeline_lib.artifacts.schemas import CLASS_SCORES_SCHEMA, PREDICTIONS_SCHEMA
from pipeline_lib.ensembling.fit import Fitted
from pipeline_lib.ensembling.galleries import GalleryMembers
from pipeline_lib.ensembling.probabilities import fuse_probabilities, predictions_table, scores_table
from pipeline_lib.stores.store import open_store, write_store


def store_of(folder, ids, rows):
    write_store(folder, ids, np.array(rows, np.float32), ("m", "64px"), dtype="float32")
    return open_store(folder)


def test_the_mean_is_taken_by_id_and_stays_a_distribution(tmp_path):
    first = store_of(tmp_path / "a", ["x", "y"], [[0.9, 0.1], [0.5, 0.5]])
    second = store_of(tmp_path / "b", ["y", "x"], [[0.1, 0.9], [0.3, 0.7]])
    fused = fuse_probabilities("arithmetic", [first, second], ["x", "y"], Fitted())
    assert fused == pytest.approx(np.array([[0.6, 0.4], [0.3, 0.7]]))
    assert fused.sum(axis=1) == pytest.approx(1)


def test_a_confident_member_outweighs_uncertain_ones(tmp_path):
    confident = store_of(tmp_path / "a", ["x"], [[0.02, 0.98]])
    uncertain = [store_of(tmp_path / name, ["x"], [[0.55, 0.45]]) for name in "bc"]
    assert fuse_probabilities("arithmetic", [confident, *uncertain], ["x"], Fitted()).argmax() == 1


def test_the_table_predicts_the_first_of_equal_classes():
    products = pl.DataFrame({"product_id": ["a", "b"], "label": ["hat", None], "group_id": ["g", "h"]})
    table = predictions_table(
        GalleryMembers("oof", 1, products, []), products, ["cup", "hat"], np.array([[0.5, 0.5], [0.1, 0.9]], np.float32)
    )
    assert table.schema == PREDICTIONS_SCHEMA
    assert table.drop("probabilities").rows() == [
        ("a", "oof", 1, "hat", "cup", "g"), ("b", "oof", 1, None, "hat", "h"),
    ]  # fmt: skip
    assert table["probabilities"].to_list()[0] == [0.5, 0.5]


def test_class_scores_are_those_of_one_row_at_a_time():
    rng = np.random.default_rng(3)
    classes = ["cup", "hat", "mug", "pan"]
    labels = [*rng.choice([*classes, "sofa"], 60).tolist(), None]
    ids = [f"p{number}" for number in range(61)]
    products = pl.DataFrame({"product_id": ids, "label": labels, "group_id": ids})
    shares = rng.integers(0, 4, (61, 4)).astype(np.float32) / 12  # with ties
    gallery = GalleryMembers("test", None, products, [])
    table = scores_table(gallery, products, classes, shares)
    assert table.schema == CLASS_SCORES_SCHEMA
    assert table.equals(scored(predictions_table(gallery, products, classes, shares), classes))
    assert table["label_rank"].null_count() == labels.count("sofa") + 1


def test_a_label_that_no_model_learned_has_no_rank():
    products = pl.DataFrame({"product_id": ["a", "b", "c"], "label": ["hat", "cup", None], "group_id": ["a", "b", "c"]})
    gallery = GalleryMembers("oof", 0, products, [], frozenset(["hat"]))
    table = scores_table(gallery, products, ["cup", "hat"], np.full((3, 2), 0.5, np.float32))
    assert table.select("product_id", "label", "label_probability", "label_rank").rows() == [
        ("a", "hat", None, None), ("b", "cup", 0.5, 1), ("c", None, None, None),
    ]  # fmt: skip


def test_weights_of_scales_are_repeated_for_every_fold(tmp_path):
    rows = [[[1.0, 0.0]], [[0.0, 1.0]], [[0.6, 0.4]], [[0.2, 0.8]]]
    stores = [store_of(tmp_path / str(number), ["x"], row) for number, row in enumerate(rows)]
    weighted = fuse_probabilities("arithmetic", stores, ["x"], Fitted(weights=np.array([0.75, 0.25])))
    assert weighted[0, 0] == pytest.approx((0.75 * 1.0 + 0.25 * 0.0 + 0.75 * 0.6 + 0.25 * 0.2) / 2)
