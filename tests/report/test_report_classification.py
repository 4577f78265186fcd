"""What stands behind the class figures, as the files tell it."""

from dataclasses import replace
from xml.etree import ElementTree

import polars as pl
import pytest

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import read_json, write_json
from pipeline_lib.artifacts.schemas import RELIABILITY_SCHEMA
from pipeline_lib.report.classification import (
    both_sides,
    compared,
    doubts,
    fused_with,
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


def test_every_baseline_stands_below_the_models_of_its_split_with_what_they_gained(run, inputs):
    rows = compared(inputs)
    assert [row.title for row in rows] == [
        f"{split}, {name}"
        for split in ("Test", "Out of fold")
        for name in ("fine-tuned", "linear probe on the frozen trunk", "nearest neighbours in the frozen trunk")
    ]
    own = run.metrics["test"]["classification"]
    assert [figure.value for figure in rows[0].figures] == [own["top1"], own["macro_f1"]] and rows[0].gains == []
    assert [figure.text for figure in rows[1].figures] == ["62.5 %", "60.0 %"]
    assert rows[1].gains == ["+12.5 (-3.0 to +25.0)"] * 2
    assert skipped(inputs) == ["Left out: zero-shot, class names as prompts. Reason: the towers are no pair."]


def test_what_both_sides_tell_together_is_told_with_its_interval_and_the_reason(inputs):
    fewer, more = both_sides(inputs)
    assert fewer == (
        "Out of fold: probes of the frozen trunk get 60.0 % right from the text alone, 25.0 % from the photo alone and "
        "62.0 % from both: +2.0 points (+1.0 to +3.0) against the text, more. Of the 800 products that the text gets "
        "wrong, the photo gets 12.0 % right, against 25.0 % of all; choosing between the two without fault would reach "
        "64.8 %."
    )
    assert "-1.0 points (-4.0 to +2.0) against the text, not told apart." in more
    worse = inputs.modality_gain.with_columns(gain_high=pl.lit(-0.001), better=pl.lit("image"), missed=0, found=0)
    assert both_sides(replace(inputs, modality_gain=worse))[1].endswith("against the photo, less.")


def test_slices_are_of_the_splits_that_have_several(inputs):
    assert [(row.title, row.num_products) for row in slices(inputs)] == [
        ("Out of fold, photo and text", 40),
        ("Out of fold, photo only", 8),
    ]


def test_the_diagram_says_the_error_before_and_after(inputs):
    figures = reliability_figures(inputs.reliability)
    assert set(figures) == {"reliability_test", "reliability_oof"}
    texts = [element.text for element in ElementTree.fromstring(figures["reliability_test"]).iter()]
    assert "after calibration: error 2.0 %" in texts and "before calibration: error 10.0 %" in texts
    uncalibrated = inputs.reliability.with_columns(calibrated=True).filter(pl.col("bin") < 8)
    assert "told: error" in reliability_figures(uncalibrated)["reliability_oof"]
    assert reliability_figures(pl.DataFrame(schema=RELIABILITY_SCHEMA)) == {}


def test_doubted_labels_are_shown_surest_first_with_their_photos(run, inputs, parse):
    shown = doubts(inputs, 4, Thumbnails(inputs.shards))
    assert [doubt.item.product_id for doubt in shown] == [row[0] for row in run.rows["issues"][:4]]
    assert all(doubt.item.label != doubt.suggested and doubt.item.photo for doubt in shown)
    items = [a["data-doubt"] for a, _ in parse(run.report(misses=4).page).all("li") if "data-doubt" in a]
    assert items == [doubt.item.product_id for doubt in shown]


def test_the_page_holds_them_all_and_none_where_there_is_none(run, make_run, parse):
    page = parse(run.report().page)
    assert len([a for a, _ in page.all("tr") if "data-classifier" in a]) == 6
    assert len([a for a, _ in page.all("tr") if "data-slice" in a]) == 2
    bare = make_run(folder="bare")
    for name in ("reliability.csv", "baselines.csv", "label_issues.csv", "modality_gain.csv"):
        path = bare.root / paths.EVALUATION / name
        pl.read_csv(path).clear().write_csv(path)
    write_json(bare.root / paths.EVALUATION / "skipped.json", {})
    metrics = read_json(bare.root / paths.METRICS)
    for split in ("oof", "test"):
        for key in ("baselines", "classification_by_modality"):
            metrics[split].pop(key, None)
    write_json(bare.root / paths.METRICS, metrics)
    text = parse(bare.report().page).all("body")[0][1]
    for absent in (
        "What did fine-tuning gain",
        "By what a product has",
        "Calibration,",
        "Labels to look at",
        "tell more",
    ):
        assert absent not in text and absent in run.report().page


def test_what_is_fused_from_elsewhere_is_said(inputs):
    assert fused_with(inputs) == fused_with(replace(inputs, fusion={"test": {"others": {}}})) == []
    fits = {"test": {"others": {"photos": 0.2, "old": 0.3}}, "oof-0": {"others": {"photos": 0.154, "old": 0.3}}}
    (line,) = fused_with(replace(inputs, fusion=fits))
    assert "fused with those of photos (weight 0.15 to 0.20) and old (weight 0.30)." in line
