"""Baselines use the other folds only, score products in the given order, and are left out with a reason."""

from dataclasses import fields

import numpy as np
import polars as pl
import pytest
from stored_trunk import CLASSES, make_products, write_trunk

from pipeline_lib.evaluation.baselines.linear_probe import cross_fit_probes, sums_of
from pipeline_lib.evaluation.baselines.neighbours import neighbour_scores
from pipeline_lib.evaluation.baselines.run import ONE_SIDED, UNLABELLED, UNPLANNED, UNSTORED, fit_probes, run_baselines
from pipeline_lib.evaluation.baselines.stored import read_baselines, write_baselines
from pipeline_lib.evaluation.baselines.trunk_features import read_trunk, unit


def scored_of(products):
    return (
        products.filter(pl.col("label").is_not_null())
        .select("product_id", "split", "fold", "label")
        .reverse()
        .with_columns(split=pl.when(pl.col("split") == "test").then(pl.lit("test")).otherwise(pl.lit("oof")))
    )


def truth_of(products, ids):
    label = dict(products.select("product_id", "label").iter_rows())
    return np.array([CLASSES.index(label[key]) for key in ids])


def expect_scores(scores, place, expected, truth):
    """The scores of one product are those of a row with a value for each class."""
    assert scores.truth[place] == truth and scores.predicted[place] == expected.argmax()
    assert scores.confidence[place] == pytest.approx(expected.max(), abs=1e-5)
    assert scores.ranks[place] == list(np.argsort(-expected, kind="stable")).index(truth)


def test_each_product_is_scored_by_the_other_folds_and_test_by_all(tmp_path):
    products = make_products()
    write_trunk(tmp_path, products)
    scored = scored_of(products)
    baselines = run_baselines(tmp_path, products, scored, CLASSES, seed=3)
    features = read_trunk(tmp_path, products)
    vectors = features.joined()
    by_probe = {"linear_probe": vectors, "linear_probe_image": features.image, "linear_probe_text": features.text}
    row_of = {key: row for row, key in enumerate(products["product_id"])}
    known = products.with_row_index().filter(pl.col("split") == "train", pl.col("label").is_not_null())
    by_fold = {fold: part["index"].to_list() for (fold,), part in known.group_by("fold")}
    probes = {
        name: cross_fit_probes({
            fold: sums_of(own[rows], truth_of(products, products["product_id"][rows]), 3)
            for fold, rows in by_fold.items()
        })
        for name, own in by_probe.items()
    }  # fmt: skip
    for split in ("oof", "test"):
        part = scored.filter(pl.col("split") == split)
        for place, (key, fold) in enumerate(part.select("product_id", "fold").iter_rows()):
            rows = known.filter(pl.col("fold") != fold if split == "oof" else pl.lit(True))["index"].to_list()
            truth = truth_of(products, products["product_id"][rows])
            own_class = truth_of(products, [key])[0]
            own = vectors[[row_of[key]]]
            knn = neighbour_scores(own, vectors[rows], truth, 3, 3, np.arange(len(rows)))[0]
            expect_scores(baselines.scores["knn"][split], place, knn, own_class)
            for name, features_of in by_probe.items():
                probe = probes[name][fold if split == "oof" else None].scores(features_of[[row_of[key]]])[0]
                expect_scores(baselines.scores[name][split], place, probe, own_class)


def test_the_products_of_a_fold_do_not_affect_its_scores():
    products = make_products()
    vectors = unit(np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32))
    own = np.flatnonzero((products["fold"] == 1).fill_null(False).to_numpy())
    poisoned = vectors.copy()
    poisoned[own] = 1e6
    rows = np.flatnonzero((products["fold"] == 2).fill_null(False).to_numpy())
    clean, dirty = (
        fit_probes({"linear_probe": features}, products, CLASSES).scorer(1, 3, seed=0)(rows)
        for features in (vectors, poisoned)
    )
    for name, scores in clean.items():
        assert np.array_equal(scores, dirty[name]) and np.isfinite(scores).all(), name


def test_class_names_are_prompts_for_photos_or_for_texts_without_photos(tmp_path):
    products = make_products()
    write_trunk(tmp_path, products)
    scored = scored_of(products)
    scores = run_baselines(tmp_path, products, scored, CLASSES, seed=3).scores["zero_shot"]["oof"]
    features = read_trunk(tmp_path, products)
    ids = scored.filter(pl.col("split") == "oof")["product_id"].to_list()
    for row, key in enumerate(ids):
        number = products["product_id"].to_list().index(key)
        one = features.image[number] if len(products["media"][number]) else features.text[number]
        # The embeddings of the class names are along the axes.
        expect_scores(scores, row, one[:3], scores.truth[row])
    assert scores.truth.tolist() == truth_of(products, ids).tolist()
    assert (scores.predicted == scores.truth).mean() > 0.8


def test_a_baseline_that_is_left_out_has_a_reason(tmp_path):
    products = make_products()
    scored = scored_of(products)
    names = {"knn", "linear_probe", "linear_probe_image", "linear_probe_text", "zero_shot"}
    assert run_baselines(None, products, scored, CLASSES, 0).skipped == dict.fromkeys(names, UNPLANNED)
    assert run_baselines(tmp_path, products, scored, CLASSES, 0).skipped == dict.fromkeys(names, UNSTORED)
    write_trunk(tmp_path, products, why_apart="the towers are no pair")
    baselines = run_baselines(tmp_path, products, scored, CLASSES, 0)
    assert baselines.skipped == {"zero_shot": "the towers are no pair"} and set(baselines.scores) == names - {
        "zero_shot"
    }
    without_text = products.with_columns(text=pl.lit(""))
    baselines = run_baselines(tmp_path, without_text, scored_of(without_text), CLASSES, 0)
    assert baselines.skipped["linear_probe_image"] == baselines.skipped["linear_probe_text"] == ONE_SIDED
    assert set(baselines.scores) == {"knn", "linear_probe"}
    unlabelled = products.with_columns(label=pl.when(pl.col("split") == "test").then("label"))
    assert run_baselines(tmp_path, unlabelled, scored, CLASSES, 0).skipped == dict.fromkeys(names, UNLABELLED)


def test_a_single_fold_gets_zero_scores(tmp_path):
    products = make_products().with_columns(fold=pl.when(pl.col("split") == "train").then(0))
    write_trunk(tmp_path, products)
    knn = run_baselines(tmp_path, products, scored_of(products), CLASSES, 0).scores["knn"]
    assert not knn["oof"].confidence.any() and knn["test"].confidence.any()


def equal_scores(one, other):
    return all(np.array_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))


def test_stored_predictions_are_those_of_a_run_on_the_scored_products(tmp_path):
    """Of all folds or of some, in any order: the models' folds need not be all."""
    products = make_products()
    write_trunk(tmp_path / "trunk", products)
    (tmp_path / "out").mkdir()
    write_baselines(tmp_path / "trunk", products, CLASSES, 3, tmp_path / "out")
    for scored in (scored_of(products), scored_of(products).filter(pl.col("fold").is_null() | (pl.col("fold") == 1))):
        expected = run_baselines(tmp_path / "trunk", products, scored, CLASSES, seed=3)
        read = read_baselines(tmp_path / "out", scored, CLASSES)
        assert read.skipped == expected.skipped == {} and read.scores.keys() == expected.scores.keys()
        for name, by_split in expected.scores.items():
            assert read.scores[name].keys() == by_split.keys() == {"oof", "test"}
            assert all(equal_scores(scores, read.scores[name][split]) for split, scores in by_split.items())
    assert read_baselines(tmp_path / "out", scored.clear(), []).scores == {}


def test_stored_predictions_of_another_catalogue_are_refused(tmp_path):
    products = make_products()
    write_trunk(tmp_path / "trunk", products)
    (tmp_path / "out").mkdir()
    others = products.filter(pl.col("product_id") != "p1")
    write_baselines(tmp_path / "trunk", others, CLASSES, 3, tmp_path / "out")
    scored = scored_of(products)
    with pytest.raises(ValueError, match="no prediction of product 'p1' by knn; run `dvc repro`"):
        read_baselines(tmp_path / "out", scored, CLASSES)
    difference = rf"its 3 classes are not the 2 of the models: 1 only there \('{CLASSES[2]}'\); run `dvc repro`"
    with pytest.raises(ValueError, match=difference):
        read_baselines(tmp_path / "out", scored, CLASSES[:2])
    with pytest.raises(ValueError, match="are not the 3 of the models: their order differs; run"):
        read_baselines(tmp_path / "out", scored, CLASSES[::-1])


def test_without_a_trunk_or_classes_the_stage_says_why_or_writes_nothing(tmp_path):
    products = make_products()
    write_baselines(None, products, CLASSES, 0, tmp_path)
    assert set(read_baselines(tmp_path, scored_of(products), CLASSES).skipped.values()) == {UNPLANNED}
    write_baselines(None, products.with_columns(label=pl.lit(None, pl.String)), [], 0, tmp_path)
    assert read_baselines(tmp_path, scored_of(products).clear(), []).skipped == {}
