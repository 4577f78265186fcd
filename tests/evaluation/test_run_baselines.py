"""Baselines are taught by other folds alone, told in the order asked, and left out with a reason."""

import numpy as np
import polars as pl
import pytest
from stored_trunk import CLASSES, make_products, write_trunk

from pipeline_lib.evaluation.baselines.linear_probe import fit_probes, sums_of
from pipeline_lib.evaluation.baselines.neighbours import neighbour_scores
from pipeline_lib.evaluation.baselines.run import ONE_SIDED, UNPLANNED, UNSTORED, UNTAUGHT, run_baselines, teach
from pipeline_lib.evaluation.baselines.trunk_features import read_trunk, unit


def asked_of(products):
    return (
        products.filter(pl.col("label").is_not_null())
        .select("product_id", "split", "fold")
        .reverse()
        .with_columns(split=pl.when(pl.col("split") == "test").then(pl.lit("test")).otherwise(pl.lit("oof")))
    )


def truth_of(products, ids):
    label = dict(products.select("product_id", "label").iter_rows())
    return np.array([CLASSES.index(label[key]) for key in ids])


def test_each_product_is_told_by_the_other_folds_and_test_by_all(tmp_path):
    products = make_products()
    write_trunk(tmp_path, products)
    asked = asked_of(products)
    found = run_baselines(tmp_path, products, asked, CLASSES, seed=3)
    features = read_trunk(tmp_path, products)
    vectors = features.joined()
    read = {"linear_probe": vectors, "linear_probe_image": features.image, "linear_probe_text": features.text}
    row_of = {key: row for row, key in enumerate(products["product_id"])}
    known = products.with_row_index().filter(pl.col("split") == "train", pl.col("label").is_not_null())
    dealt = {fold: part["index"].to_list() for (fold,), part in known.group_by("fold")}
    probes = {
        name: fit_probes({
            fold: sums_of(own[rows], truth_of(products, products["product_id"][rows]), 3)
            for fold, rows in dealt.items()
        })
        for name, own in read.items()
    }  # fmt: skip
    for split in ("oof", "test"):
        part = asked.filter(pl.col("split") == split)
        for place, (key, fold) in enumerate(part.select("product_id", "fold").iter_rows()):
            rows = known.filter(pl.col("fold") != fold if split == "oof" else pl.lit(True))["index"].to_list()
            truth = truth_of(products, products["product_id"][rows])
            own = vectors[[row_of[key]]]
            knn = neighbour_scores(own, vectors[rows], truth, 3, seed=3)[0]
            assert found.scores["knn"][split][place] == pytest.approx(knn, abs=1e-5)
            for name, of in read.items():
                probe = probes[name][fold if split == "oof" else None].scores(of[[row_of[key]]])[0]
                assert found.scores[name][split][place] == pytest.approx(probe, abs=1e-5)


def test_a_folds_own_products_teach_nothing_of_it():
    products = make_products()
    vectors = unit(np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32))
    own = np.flatnonzero((products["fold"] == 1).fill_null(False).to_numpy())
    poisoned = vectors.copy()
    poisoned[own] = 1e6
    rows = np.flatnonzero((products["fold"] == 2).fill_null(False).to_numpy())
    for name, told in teach({"linear_probe": vectors}, products, CLASSES).scores(rows, 1, 3, seed=0).items():
        again = teach({"linear_probe": poisoned}, products, CLASSES).scores(rows, 1, 3, seed=0)[name]
        assert np.array_equal(told, again) and np.isfinite(told).all(), name


def test_names_are_prompts_for_photos_and_for_texts_where_there_is_none(tmp_path):
    products = make_products()
    write_trunk(tmp_path, products)
    asked = asked_of(products)
    found = run_baselines(tmp_path, products, asked, CLASSES, seed=3).scores["zero_shot"]["oof"]
    features = read_trunk(tmp_path, products)
    ids = asked.filter(pl.col("split") == "oof")["product_id"].to_list()
    for row, key in enumerate(ids):
        number = products["product_id"].to_list().index(key)
        one = features.image[number] if len(products["media"][number]) else features.text[number]
        # The names of the classes lie along the axes.
        assert found[row] == pytest.approx(one[:3], abs=1e-6)
    assert (found.argmax(axis=1) == truth_of(products, ids)).mean() > 0.8


def test_what_is_left_out_says_why(tmp_path):
    products = make_products()
    asked = asked_of(products)
    names = {"knn", "linear_probe", "linear_probe_image", "linear_probe_text", "zero_shot"}
    assert run_baselines(None, products, asked, CLASSES, 0).skipped == dict.fromkeys(names, UNPLANNED)
    assert run_baselines(tmp_path, products, asked, CLASSES, 0).skipped == dict.fromkeys(names, UNSTORED)
    write_trunk(tmp_path, products, why_apart="the towers are no pair")
    found = run_baselines(tmp_path, products, asked, CLASSES, 0)
    assert found.skipped == {"zero_shot": "the towers are no pair"} and set(found.scores) == names - {"zero_shot"}
    untold = products.with_columns(text=pl.lit(""))
    found = run_baselines(tmp_path, untold, asked_of(untold), CLASSES, 0)
    assert found.skipped["linear_probe_image"] == found.skipped["linear_probe_text"] == ONE_SIDED
    assert set(found.scores) == {"knn", "linear_probe"}
    untaught = products.with_columns(label=pl.when(pl.col("split") == "test").then("label"))
    assert run_baselines(tmp_path, untaught, asked, CLASSES, 0).skipped == dict.fromkeys(names, UNTAUGHT)


def test_a_single_fold_without_others_is_told_nothing(tmp_path):
    products = make_products().with_columns(fold=pl.when(pl.col("split") == "train").then(0))
    write_trunk(tmp_path, products)
    found = run_baselines(tmp_path, products, asked_of(products), CLASSES, 0)
    assert not found.scores["knn"]["oof"].any() and found.scores["knn"]["test"].any()
