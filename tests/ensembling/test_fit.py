"""Fits use other folds only: the rows of a fold never change how that fold is fused."""

from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet
import pytest
from embedded_project import ensemble_params, make_project
from measured import measure
from scored_rows import scored
from traced import peak_bytes

from pipeline_lib.artifacts import io, paths
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.artifacts.schemas import OOF_SCHEMA
from pipeline_lib.ensembling import probabilities
from pipeline_lib.ensembling.classification import classify
from pipeline_lib.ensembling.fit import Fitted, HeldOut, cross_fitted, fit
from pipeline_lib.ensembling.galleries import GalleryMembers, read_galleries
from pipeline_lib.ensembling.members import Member, open_members
from pipeline_lib.ensembling.temperature import fit_temperature
from pipeline_lib.stores.store import open_store, write_store
from stages import ensemble

FITTED = {"weights": "fitted", "temperature": "fitted"}


def drawn(fold, seed, rows=40, num_scales=2):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, rows)
    logits = rng.normal(size=(num_scales, rows, 3)) + np.eye(3)[truth]
    powers = np.exp(2 * logits)
    return HeldOut(fold, (powers / powers.sum(-1, keepdims=True)).astype(np.float32), truth)


def same(first: Fitted, second: Fitted):
    return np.array_equal(first.weights, second.weights) and first.temperature == second.temperature


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_a_folds_fit_uses_none_of_its_own_rows(mean):
    params = ensemble_params(mean=mean, **FITTED)
    parts = [drawn(fold, seed=fold) for fold in range(3)]
    poisoned = HeldOut(1, np.full_like(parts[1].members, np.nan), 2 - parts[1].truth)
    clean, dirty = cross_fitted(parts, params), cross_fitted([parts[0], poisoned, parts[2]], params)
    assert same(clean[1], dirty[1]) and clean[1].num_products == 80
    assert not same(clean[0], dirty[0]) and not same(clean[None], dirty[None])
    assert same(clean[1], fit([parts[0], parts[2]], params)) and same(clean[None], fit(parts, params))
    assert clean[1].weights.tolist() != [0.5, 0.5] and clean[1].temperature != 1


def test_without_products_to_fit_on_weights_are_equal():
    params = ensemble_params(**FITTED)
    alone = cross_fitted([drawn(4, seed=1)], params)
    assert (alone[4].weights, alone[4].temperature, alone[4].num_products) == (None, 1.0, 0)
    assert alone[None].num_products == 40
    empty = HeldOut(0, np.zeros((2, 0, 3), np.float32), np.zeros(0, np.int64))
    assert cross_fitted([empty], params)[None] == Fitted()
    assert cross_fitted([drawn(0, seed=1), drawn(1, seed=2)], ensemble_params())[None] == Fitted()


def test_a_fit_of_one_kind_does_not_change_the_other():
    parts = [drawn(0, seed=1), drawn(1, seed=2)]
    assert fit(parts, ensemble_params(weights="fitted")).temperature == 1.0
    assert fit(parts, ensemble_params(temperature="fitted")).weights is None


def test_the_temperature_is_fitted_to_the_shares_that_are_published():
    """The two scales together weigh as much as the one external experiment."""
    part = replace(drawn(0, seed=1, num_scales=3), num_external=1)
    result = fit([part], ensemble_params(temperature="fitted"))
    fused = part.members[0] / 4 + part.members[1] / 4 + part.members[2] / 2
    assert result.weights is None and result.temperature == pytest.approx(fit_temperature(fused, part.truth), rel=1e-5)
    assert result.temperature != pytest.approx(fit_temperature(part.members.mean(axis=0), part.truth), rel=1e-3)


@pytest.fixture
def project(tmp_path, monkeypatch):
    make_project(tmp_path, monkeypatch)


def classified(**changes):
    members = open_members(paths.embed_of, [0, 1], [64, 80])
    galleries = read_galleries(paths.CATALOGUE, paths.FOLDS / "folds.parquet", [0, 1])
    return members, classify(galleries, members, ensemble_params(**changes))


def test_other_readers_get_the_out_of_fold_probabilities_as_one_matrix(project, tmp_path):
    """pyarrow reads fixed-size lists, whose values are the matrix without a copy of its rows."""
    members, result = classified()
    result.write(tmp_path, ensemble_params(), [64, 80], [])
    table = pyarrow.parquet.read_table(tmp_path / "oof.parquet")
    width = len(members[0].classes)
    assert table.schema.field("probabilities").type == pyarrow.list_(pyarrow.float32(), width)
    matrix = table["probabilities"].combine_chunks().flatten().to_numpy(zero_copy_only=True).reshape(-1, width)
    assert np.array_equal(matrix, pl.concat(result.out_of_fold())["probabilities"].to_numpy())


def test_the_out_of_fold_table_has_every_scale_and_the_published_prediction(project):
    members, result = classified(temperature="fitted")
    table = pl.concat(result.out_of_fold())
    assert (
        table.schema
        == result.out_of_fold_schema()
        == {**OOF_SCHEMA, "probabilities": pl.Array(pl.Float32, len(members[0].classes))}
    )
    products = ["p0", "p1", "p2", "p3", "p4", "p5"]
    assert table.sort("id", "scale").select("id", "scale").rows() == [
        (key, scale) for key in products for scale in (None, 64, 80)
    ]
    assert dict(table.select("id", "fold").iter_rows()) == dict(zip(products, [0, 0, 0, 1, 1, 1], strict=True))
    assert dict(table.select("id", "truth").iter_rows())["p5"] == "sofa"
    published = pl.concat(result.probabilities()).filter(pl.col("split") == "oof")["probabilities"]
    assert table.filter(pl.col("scale").is_null())["probabilities"].to_list() == published.to_list()
    for member in members:
        ids = products[3 * member.fold : 3 * member.fold + 3]
        rows = table.filter((pl.col("scale") == member.scale) & pl.col("id").is_in(ids))
        assert np.array_equal(np.stack(rows["probabilities"].to_list()), member.probabilities.rows(ids))


@pytest.mark.parametrize("rows", [1, 2])
def test_blocks_of_any_size_give_the_same_tables(project, tmp_path, monkeypatch, rows):
    params = ensemble_params(mean="geometric", weights="fitted", temperature="fitted")
    for folder, values in (("whole", None), ("blocks", 2 * rows)):
        if values:
            monkeypatch.setattr(io, "BLOCK_VALUES", values)
        (tmp_path / folder).mkdir()
        classified(mean="geometric", **FITTED)[1].write(tmp_path / folder, params, [64, 80], [])
    assert pyarrow.parquet.ParquetFile(tmp_path / "blocks/oof.parquet").metadata.row_group(0).num_rows == rows
    for name in ("probabilities", "oof", "class_scores", "uncalibrated"):
        whole, blocks = (pl.read_parquet(tmp_path / folder / f"{name}.parquet") for folder in ("whole", "blocks"))
        assert whole.height and whole.equals(blocks), name
    assert (tmp_path / "whole/fusion.json").read_bytes() == (tmp_path / "blocks/fusion.json").read_bytes()


def test_predictions_of_a_fold_use_the_temperature_of_the_other(project):
    _, result = classified(temperature="fitted")
    _, plain = classified()
    before, after = (pl.concat(one.probabilities()) for one in (plain, result))
    for scores, frame in zip(result.scores(), (before, after), strict=True):
        by_hand = scored(frame, result.fused[0].classes)
        unlearned = pl.col("product_id") == "p1"  # the only hat outside test is in its own fold
        nulls = [pl.when(~unlearned).then(pl.col(name)).alias(name) for name in ("label_probability", "label_rank")]
        assert scores.equals(by_hand.with_columns(nulls))
    assert before["predicted"].equals(after["predicted"])
    for split, fold in (("oof", 0), ("oof", 1), ("test", None)):
        rows = (pl.col("split") == split) & pl.col("fold").eq_missing(fold)
        raw, published = (np.stack(frame.filter(rows)["probabilities"].to_list()) for frame in (before, after))
        powers = raw ** (1 / result.fits[fold].temperature)
        assert published == pytest.approx(powers / powers.sum(axis=1, keepdims=True), abs=1e-5)


def test_the_stages_report_the_fits_and_the_reliability_before_and_after(project, capsys):
    text = Path("params.yaml").read_text(encoding="utf-8")
    text = text.replace("weights: uniform", "weights: fitted").replace("temperature: none", "temperature: fitted")
    Path("params.yaml").write_text(text, encoding="utf-8")
    ensemble.main()
    measure()
    report = read_object(paths.ENSEMBLE / "fusion.json")
    # Of fold 0 p1 is the only hat, which its model could not learn; of fold 1 only p4 has a usable label: p3 has none
    # and p5's is unknown to the models.
    assert {name: fit["fitted_on"] for name, fit in report.items()} == {"oof-0": 1, "oof-1": 2, "test": 3}
    assert all(sum(fit["weights"].values()) == pytest.approx(1) for fit in report.values())
    assert list(report["test"]["weights"]) == ["64", "80"]
    bins = pl.read_csv(paths.EVALUATION / "reliability.csv")
    assert sorted(bins.group_by("split", "calibrated").agg(pl.col("count").sum()).rows()) == [
        ("oof", False, 3), ("oof", True, 3), ("test", False, 2), ("test", True, 2),
    ]  # fmt: skip


def many(folder, count=400, num_classes=50):
    """Return the galleries of two folds with `count` labelled products each, and their members at two scales."""
    rng = np.random.default_rng(5)
    classes = [f"class {number}" for number in range(num_classes)]
    galleries, members = [], []
    for fold in (0, 1):
        ids = [f"product {fold}-{number}" for number in range(count)]
        labels = rng.choice(classes, count)
        galleries.append(
            GalleryMembers("oof", fold, pl.DataFrame({"product_id": ids, "label": labels, "group_id": ids}), [])
        )
        for scale in (64, 80):
            rows = rng.dirichlet(np.ones(num_classes), count).astype(np.float32)
            write_store(folder / f"{fold}-{scale}", ids, rows, ("m", f"{scale}px"), dtype="float32")
            store = open_store(folder / f"{fold}-{scale}")
            members.append(Member(folder, fold, scale, None, None, store, None, classes))
    return galleries, members


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_of_very_many_products_those_with_the_smallest_hashes_are_fitted_on(tmp_path, monkeypatch, mean):
    params = ensemble_params(mean=mean, **FITTED)
    galleries, members = many(tmp_path)
    whole = classify(galleries, members, params)
    assert whole.fits[None].num_products == 800 and not list(whole.notes(params))
    monkeypatch.setattr(probabilities, "FIT_VALUES", 800 * 2 * 50)
    exactly = classify(galleries, members, params)
    assert all(same(exactly.fits[fold], one) for fold, one in whole.fits.items())

    monkeypatch.setattr(probabilities, "FIT_VALUES", 100 * 2 * 50 + 99)
    drawn = classify(galleries, members, params)
    assert list(drawn.notes(params)) == ["fitted on 100 of 800 labelled products, drawn by a hash of their ids"]
    ids = [key for gallery in galleries for key in gallery.products["product_id"]]
    smallest = sorted(ids, key=lambda key: blake2b(key.encode(), digest_size=8).hexdigest())[:100]
    left = [replace(one, products=one.products.filter(pl.col("product_id").is_in(smallest))) for one in galleries]
    alone = classify(left, members, params)
    turned = classify([replace(one, products=one.products.reverse()) for one in galleries], members, params)
    for fold, one in drawn.fits.items():
        assert same(one, alone.fits[fold]) and one.num_products == alone.fits[fold].num_products <= 100
        assert turned.fits[fold].weights == pytest.approx(one.weights)
        assert turned.fits[fold].temperature == pytest.approx(one.temperature)
    assert sum(frame.height for frame in drawn.probabilities()) == 800


def test_without_a_classifier_no_note_is_about_fits(tmp_path):
    galleries, members = many(tmp_path)
    params = ensemble_params(**FITTED)
    retrieval = [replace(one, probabilities=None, classes=[]) for one in members]
    assert list(classify(galleries, retrieval, params).notes(params)) == []
    unlabelled = [replace(one, products=one.products.with_columns(label=pl.lit(None, pl.String))) for one in galleries]
    lines = [note.partition(":")[0] for note in classify(unlabelled, members, params).notes(params)]
    assert sorted(lines) == ["oof-0", "oof-1", "test"]


def test_products_whose_class_their_model_could_not_learn_are_not_fitted_on(tmp_path):
    galleries, members = many(tmp_path)
    alone = [replace(one, unlearned=frozenset(["class 3"]) if one.fold == 1 else frozenset()) for one in galleries]
    left = [one if one.fold == 0 else replace(one, products=one.products.filter(pl.col("label") != "class 3"))
            for one in galleries]  # fmt: skip
    params = ensemble_params(mean="arithmetic", **FITTED)
    fits, expected = (classify(one, members, params).fits for one in (alone, left))
    assert fits[None].num_products < 800
    assert all(same(fits[fold], one) and fits[fold].num_products == one.num_products for fold, one in expected.items())


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_a_fit_holds_few_products_however_many_have_a_label(tmp_path, monkeypatch, mean):
    """All of the 2,000 products are 3.2 MB as stored, and as much again for each copy and twice as much as float64."""
    galleries, members = many(tmp_path, count=1000, num_classes=200)
    monkeypatch.setattr(probabilities, "FIT_VALUES", 1 << 15, raising=False)
    assert peak_bytes(lambda: classify(galleries, members, ensemble_params(mean=mean, **FITTED))) < 2e6
