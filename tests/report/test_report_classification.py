"""The sections on classes against the files of a run."""

from dataclasses import replace
from xml.etree import ElementTree

import polars as pl
import pytest

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.artifacts.schemas import RELIABILITY_SCHEMA
from pipeline_lib.report.classification import (
    classifier_rows,
    doubts,
    fused_with,
    modality_gains,
    reliability_figures,
    skipped,
    slices,
)
from pipeline_lib.report.inputs import read_inputs
from pipeline_lib.report.photos import Thumbnails


@pytest.fixture
def run(make_run):
    return make_run(signal=1.0)


@pytest.fixture
def inputs(run):
    return read_inputs(run.folds, run.root)


def test_every_baseline_has_a_row_below_the_models_of_its_split_with_the_gain(run, inputs):
    rows = classifier_rows(inputs)
    assert [row.title for row in rows] == [
        f"{split}, {name}"
        for split in ("Test", "Out of fold")
        for name in ("trained", "linear probe on the frozen trunk", "nearest neighbours in the frozen trunk")
    ]
    own = run.metrics["test"]["classification"]
    assert [figure.value for figure in rows[0].figures] == [own["top1"], own["macro_f1"]] and rows[0].gains == []
    assert [figure.text for figure in rows[1].figures] == ["62.5 %", "60.0 %"]
    assert rows[1].gains == ["+12.5 (-3.0 to +25.0)"] * 2
    assert skipped(inputs) == ["Left out: zero-shot, class names as prompts. Reason: the towers are no pair."]


def test_the_gain_of_photo_and_text_together_has_its_interval_and_upper_limit(inputs):
    out_of_fold, test = modality_gains(inputs)
    assert out_of_fold == (
        "Out of fold: probes of the frozen trunk classify 60.0 % correctly from the text alone, 25.0 % from the photo "
        "alone and 62.0 % from both: +2.0 points (+1.0 to +3.0) against the text, more. Of the 800 products that the "
        "text gets wrong, the photo gets 12.0 % right, against 25.0 % of all. A perfect choice between the two would "
        "reach 64.8 %."
    )
    assert "-1.0 points (-4.0 to +2.0) against the text, no significant difference." in test
    gains = inputs.evaluation.modality_gain
    worse = gains.with_columns(gain_high=pl.lit(-0.001), better=pl.lit("image"), missed=0, found=0)
    worse_inputs = replace(inputs, evaluation=replace(inputs.evaluation, modality_gain=worse))
    assert modality_gains(worse_inputs)[1].endswith("against the photo, less.")


def test_figures_by_modality_are_of_the_splits_with_several_modalities(inputs):
    assert [(row.title, row.num_products) for row in slices(inputs)] == [
        ("Out of fold, photo and text", 40),
        ("Out of fold, photo only", 8),
    ]


def test_the_diagram_names_the_error_before_and_after_calibration(inputs):
    figures = reliability_figures(inputs.evaluation.reliability)
    assert set(figures) == {"reliability_test", "reliability_oof"}
    texts = [element.text for element in ElementTree.fromstring(figures["reliability_test"]).iter()]
    assert "after calibration: error 2.0 %" in texts and "before calibration: error 10.0 %" in texts
    uncalibrated = inputs.evaluation.reliability.with_columns(calibrated=True).filter(pl.col("bin") < 8)
    assert "uncalibrated: error" in reliability_figures(uncalibrated)["reliability_oof"]
    assert reliability_figures(pl.DataFrame(schema=RELIABILITY_SCHEMA)) == {}


def test_doubtful_labels_are_shown_with_photos_the_most_confident_first(run, inputs, parse):
    shown = doubts(inputs, 4, Thumbnails(inputs.shards, inputs.catalogue.products))
    assert [doubt.item.product_id for doubt in shown] == [row[0] for row in run.rows["issues"][:4]]
    assert all(doubt.item.label != doubt.suggested and doubt.item.photo for doubt in shown)
    items = [a["data-doubt"] for a, _ in parse(run.report(misses=4).page).all("li") if "data-doubt" in a]
    assert items == [doubt.item.product_id for doubt in shown]


def test_the_page_has_all_sections_and_none_without_data(run, make_run, parse):
    page = parse(run.report().page)
    assert len([a for a, _ in page.all("tr") if "data-classifier" in a]) == 6
    assert len([a for a, _ in page.all("tr") if "data-slice" in a]) == 2
    bare = make_run(folder="bare")
    for name in ("reliability.csv", "baselines.csv", "label_issues.csv", "modality_gain.csv"):
        path = bare.root / paths.EVALUATION / name
        pl.read_csv(path).clear().write_csv(path)
    write_json(bare.root / paths.EVALUATION / "skipped.json", {})
    metrics = read_object(bare.root / paths.METRICS)
    for split in ("oof", "test"):
        for key in ("baselines", "classification_by_modality"):
            metrics[split].pop(key, None)
    write_json(bare.root / paths.METRICS, metrics)
    text = parse(bare.report().page).all("body")[0][1]
    for absent in (
        "Gain of training",
        "By modality",
        "Calibration,",
        "Labels that may be wrong",
        "Gain of photo and text together",
    ):
        assert absent not in text and absent in run.report().page


def test_fused_experiments_are_named_with_their_weights(inputs):
    def lines(fusion):
        return fused_with(replace(inputs, ensemble=replace(inputs.ensemble, fusion=fusion)))

    assert fused_with(inputs) == lines({"test": {"others": {}}}) == []
    fits = {"test": {"others": {"photos": 0.2, "old": 0.3}}, "oof-0": {"others": {"photos": 0.154, "old": 0.3}}}
    (line,) = lines(fits)
    assert "fused with those of photos (weight 0.15 to 0.20) and old (weight 0.30)." in line
