"""External predictions in the ensemble: joined by product and class, and never from another fold."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from dvc.utils.hydra import apply_overrides
from embedded_project import CLASSES, ensemble_params, make_project, write_model_card
from measured import measure

from pipeline_lib.artifacts import io, paths
from pipeline_lib.artifacts.digests import digest_folder
from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.ensembling.classification import classify
from pipeline_lib.ensembling.external_predictions import check_models, open_external
from pipeline_lib.ensembling.fit import equal_shares
from pipeline_lib.ensembling.galleries import read_galleries
from pipeline_lib.ensembling.members import open_members
from pipeline_lib.experiments.keep import keep_predictions
from pipeline_lib.params.all_sections import check_params
from pipeline_lib.params.section import load_params
from pipeline_lib.splitting.planned_models import refused
from pipeline_lib.splitting.seen import read_hashed_products, seen_by_run
from stages import ensemble

ROOT = paths.PREDICTIONS / "mine"
OTHER = ROOT / "other"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with external predictions `other`: its rows are shuffled and it prefers the class hat."""
    make_project(tmp_path, monkeypatch)
    ensemble.main()
    table = pl.read_parquet(paths.ENSEMBLE / "probabilities.parquet")
    OTHER.mkdir(parents=True)
    probabilities = np.random.default_rng(5).dirichlet((1, 3), len(table)).astype(np.float32)
    table = table.with_columns(probabilities=pl.Series(probabilities.tolist(), dtype=pl.List(pl.Float32)))
    table.sample(fraction=1, shuffle=True, seed=1).write_parquet(OTHER / "probabilities.parquet")
    write_json(OTHER / "classes.json", CLASSES)
    for fold in (0, 1):
        write_model_card(OTHER / f"models/{fold}", fold)
    return dict(zip(table["product_id"], probabilities, strict=True))


def galleries():
    return read_galleries(paths.CATALOGUE, paths.FOLDS / "folds.parquet", [0, 1])


def classified(external, **changes):
    return classify(galleries(), open_members(paths.embed_of, [0, 1], [64, 80]), ensemble_params(**changes), external)


def rows_of(result):
    return pl.concat(result.probabilities())


def by_product(predictions):
    return {key: np.array(row) for key, row in predictions.select("product_id", "probabilities").iter_rows()}


def rewrite(expression):
    file = OTHER / "probabilities.parquet"
    pl.read_parquet(file).with_columns(expression).write_parquet(file)


def test_an_empty_folder_changes_nothing(project):
    before = digest_folder(paths.ENSEMBLE)
    assert open_external(paths.NO_PREDICTIONS, CLASSES, galleries()) == []
    ensemble.main()
    assert digest_folder(paths.ENSEMBLE) == before


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_an_external_experiment_weighs_as_much_as_all_scales_and_folds_together(mean, project):
    external = open_external(ROOT, CLASSES, galleries())
    alone, both = (by_product(rows_of(classified(some, mean=mean))) for some in ([], external))
    for product, own in alone.items():
        if mean == "arithmetic":
            expected = (own + project[product]) / 2
        else:
            powers = np.sqrt(own * project[product])
            expected = powers / powers.sum()
        assert both[product] == pytest.approx(expected, abs=1e-6)
    assert equal_shares(4, 2).tolist() == pytest.approx([1 / 12] * 4 + [1 / 3] * 2)


def test_classes_in_another_order_are_reordered(project, monkeypatch):
    (first,) = open_external(ROOT, CLASSES, galleries())
    rewrite(pl.col("probabilities").list.reverse())
    monkeypatch.setattr(io, "BLOCK_VALUES", 4)  # two products are read together
    write_json(OTHER / "classes.json", CLASSES[::-1])
    (reordered,) = open_external(ROOT, CLASSES, galleries())
    ids = ["t1", "p0", "p4"]
    assert np.array_equal(first.rows(ids), reordered.rows(ids))
    assert np.array_equal(first.rows(ids), np.stack([project[key] for key in ids]))


def test_fitted_weights_prefer_the_source_that_is_right(project):
    """`other` is always right. The weights of one fold are fitted on the other fold, so both folds must prefer it."""
    labels = dict(pl.read_parquet(paths.CATALOGUE / "products.parquet").select("product_id", "label").iter_rows())
    right = {"cup": [0.98, 0.02], "hat": [0.02, 0.98]}
    rewrite(pl.col("product_id").replace_strict({key: right.get(label, [0.5, 0.5]) for key, label in labels.items()},
                                                return_dtype=pl.List(pl.Float32)).alias("probabilities"))  # fmt: skip
    result = classified(open_external(ROOT, CLASSES, galleries()), weights="fitted", temperature="fitted")
    for fit in result.fits.values():
        assert fit.weights.sum() == pytest.approx(1) and fit.weights[2] > 0.9
    table = rows_of(result).filter(pl.col("label").is_in(CLASSES))
    assert (table["predicted"] == table["label"]).all() and table.height == 6


def test_the_stage_fuses_and_reports_the_weights(project, capsys):
    text = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text.replace("fuse_with: data/predictions/none", f"fuse_with: {ROOT}"), "utf-8")
    before = by_product(pl.read_parquet(paths.ENSEMBLE / "probabilities.parquet"))
    ensemble.main()
    assert f"class predictions of {OTHER} are fused with this run's" in capsys.readouterr().out
    after = by_product(pl.read_parquet(paths.ENSEMBLE / "probabilities.parquet"))
    assert all(after[key] == pytest.approx((before[key] + project[key]) / 2, abs=1e-6) for key in before)
    report = read_object(paths.ENSEMBLE / "fusion.json")
    assert report["test"]["weights"] == {"64": 0.25, "80": 0.25} and report["test"]["others"] == {"other": 0.5}


def test_keep_predictions_copies_what_the_ensemble_wrote(project):
    assert keep_predictions(["workspace"], "again") == paths.PREDICTIONS / "again"
    copy = paths.PREDICTIONS / "again" / "workspace"
    for name in ("probabilities.parquet", "classes.json"):
        assert (copy / name).read_bytes() == (paths.ENSEMBLE / name).read_bytes()
    (own,) = open_external(paths.PREDICTIONS / "again", CLASSES, galleries())
    alone, doubled = (by_product(rows_of(classified(some))) for some in ([], [own]))
    assert all(doubled[key] == pytest.approx(alone[key], abs=1e-6) for key in alone)


def refused_early():
    """Return the lines before training on what the project fuses; its models know all classes of the catalogue."""
    file = paths.CATALOGUE / "products.parquet"
    learned = pl.when(pl.col("label").is_in(CLASSES)).then("label").alias("label")
    pl.read_parquet(file).with_columns(learned).write_parquet(file)
    apply_overrides(Path("params.yaml"), [f"ensemble.fuse_with={ROOT}"])
    return refused(load_params())


def spoil(what):
    if what == "a fold":
        rewrite(pl.when(pl.col("product_id") == "p1").then(1).otherwise("fold").cast(pl.Int64).alias("fold"))
    elif what == "a split":
        rewrite(pl.when(pl.col("product_id") == "t1").then(pl.lit("oof")).otherwise("split").alias("split"))
    elif what == "a product":
        file = OTHER / "probabilities.parquet"
        pl.read_parquet(file).filter(pl.col("product_id") != "p4").write_parquet(file)
    elif what == "a class":
        write_json(OTHER / "classes.json", ["cup", "sofa"])
    elif what == "a column":
        file = OTHER / "probabilities.parquet"
        pl.read_parquet(file).drop("group_id").write_parquet(file)
    elif what == "a file":
        (OTHER / "classes.json").unlink()


@pytest.mark.parametrize(
    ("what", "line"),
    [
        (
            "a fold",
            "'p1' is in oof-1, in this run in oof-0; keep predictions of a run on this catalogue and these",
        ),
        ("a split", "'t1' is in oof, in this run in test; keep"),
        ("a product", "no prediction for 'p4', a product of oof-1; keep"),
        (
            "a class",
            "its 2 classes are not the 2 of this run: 1 only there ('sofa'), 1 only in this run ('hat'); keep",
        ),
        ("a column", "probabilities.parquet: has no column group_id; run that experiment again"),
        ("a file", "classes.json: no such file; `vitrine keep-predictions` writes a complete folder"),
    ],
)
def test_predictions_that_do_not_match_this_run_give_one_line(what, line, project):
    spoil(what)
    with pytest.raises(ValueError) as error:
        open_external(ROOT, CLASSES, galleries())
    assert str(error.value).startswith(str(OTHER)) and line in str(error.value) and "\n" not in str(error.value)
    assert refused(load_params()) == []
    assert refused_early() == [str(error.value)]


def test_folds_that_are_not_trained_and_products_of_no_fold_need_no_predictions(project):
    assert refused_early() == []
    file = OTHER / "probabilities.parquet"
    pl.read_parquet(file).filter(pl.col("fold").ne_missing(1)).write_parquet(file)
    assert "a product of oof-1" in refused(load_params())[0]
    apply_overrides(Path("params.yaml"), ["plan.folds=[0]"])
    assert refused(load_params()) == []
    folds = pl.read_parquet(paths.FOLDS / "folds.parquet")
    always = pl.when(pl.col("fold") == 1).then(None).otherwise("fold").alias("fold")
    folds.with_columns(always).write_parquet(paths.FOLDS / "folds.parquet")
    assert refused(load_params()) == []
    open_external(ROOT, CLASSES, read_galleries(paths.CATALOGUE, paths.FOLDS / "folds.parquet", [0]))


def test_predictions_of_a_model_that_was_trained_on_what_it_predicts_are_refused(project, capsys):
    """Same ids and folds, but the model of fold 0 started from one that was trained on p0-p2."""
    products = read_hashed_products(paths.CATALOGUE, paths.FOLDS)
    external, folds = open_external(ROOT, CLASSES, galleries()), [0, 1]
    check_models(ROOT, external, products, folds, allow=False)
    write_model_card(OTHER / "models/0", 0, [seen_by_run(products, 1)])
    line = f"ensemble.fuse_with: {OTHER} was trained on 3 of 3 held-out and 0 of 3 test products that fold 0 is"
    with pytest.raises(ValueError, match=line):
        check_models(ROOT, external, products, folds, allow=False)
    apply_overrides(Path("params.yaml"), [f"ensemble.fuse_with={ROOT}"])
    with pytest.raises(SystemExit):
        ensemble.main()
    assert line in capsys.readouterr().err
    apply_overrides(Path("params.yaml"), ["train.allow_seen=true"])
    ensemble.main()
    measure()
    assert read_object(paths.METRICS)["seen"] == {"oof": {"trained_on": 3, "products": 6}}
    shutil.rmtree(OTHER / "models")
    with pytest.raises(
        ValueError, match=r"models/0/model.json is missing; `vitrine keep-predictions` writes a complete"
    ):
        check_models(ROOT, external, products, folds, allow=True)


def test_a_run_without_a_classifier_or_a_missing_folder_gives_one_line(project):
    with pytest.raises(ValueError, match="has class predictions, but this run's models have no classifier"):
        open_external(ROOT, [], galleries())
    apply_overrides(Path("params.yaml"), [f"ensemble.fuse_with={ROOT}", "losses.cross_entropy.weight=0"])
    (line,) = refused(load_params())
    assert line == f"ensemble.fuse_with: {ROOT} has class predictions, but this run's models have no classifier"
    with pytest.raises(ValueError, match="'data/predictions/nowhere': no such folder; `vitrine keep-predictions`"):
        open_external(paths.PREDICTIONS / "nowhere", CLASSES, galleries())


def test_check_refuses_a_missing_folder(project):
    (paths.STARTS / "trunk").mkdir(parents=True)
    for folder in ("data/sample/products", "data/splits/none", "data/starts/none"):
        Path(folder).mkdir(parents=True)
    check_params(Path("params.yaml"))
    text = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text.replace("data/predictions/none", "data/predictions/new"), "utf-8")
    with pytest.raises(ValueError, match=r"ensemble.fuse_with = 'data/predictions/new', but there is no such folder"):
        check_params(Path("params.yaml"))
