"""docs/outputs.md names the columns and keys that the code writes, and every file of a run."""

import re
from dataclasses import fields

import polars as pl
import pytest
from documents import ROOT, inline_code, stages
from made_run import Run, build_run
from metric_paths import undescribed
from output_names import PAGE, tables, unnamed

from pipeline_lib.artifacts import paths, schemas
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.artifacts.schemas import RANKINGS_SCHEMA
from pipeline_lib.catalogue import schema as catalogue
from pipeline_lib.catalogue.attributes import attributes_of
from pipeline_lib.catalogue.schema import Records
from pipeline_lib.ensembling.composed_prediction_files import COMPOSED_PREDICTIONS, write_composed_predictions
from pipeline_lib.evaluation.baselines.stored import SCHEMA as BASELINE_PREDICTIONS
from pipeline_lib.features.tower_stores import VIEWS
from pipeline_lib.stores.activations import ActivationHeader
from pipeline_lib.stores.boundary import BOUNDARY, MIRRORED, TOKENS
from pipeline_lib.stores.store import StoreHeader

WORK = "data/work"
# Heading of the page -> the columns or keys that the code gives the file.
WRITTEN = {
    **{f"{WORK}/catalogue/{name}.parquet": list(columns) for name, columns in catalogue.TABLES.items()},
    f"{WORK}/frames/clips/frames.parquet": list(schemas.FRAMES_SCHEMA),
    f"{WORK}/frames/clips/clips.parquet": list(schemas.CLIPS_SCHEMA),
    f"{WORK}/train/<fold>/mined.parquet": list(schemas.MINED_SCHEMA),
    f"{WORK}/judged/<fold>/queries.parquet": list(schemas.JUDGED_QUERIES_SCHEMA),
    f"{WORK}/baselines/predictions.parquet": list(BASELINE_PREDICTIONS),
    f"{WORK}/evaluation/ranks.parquet": list(schemas.RANKS_SCHEMA),
    f"{WORK}/evaluation/composed_ranks.parquet": list(schemas.COMPOSED_RANKS_SCHEMA),
    f"{WORK}/evaluation/composed_best.parquet": list(schemas.COMPOSED_BEST_SCHEMA),
    f"{WORK}/ensemble/rankings.parquet": list(schemas.RANKINGS_SCHEMA),
    f"{WORK}/ensemble/probabilities.parquet": list(schemas.PREDICTIONS_SCHEMA),
    f"{WORK}/ensemble/class_scores.parquet": list(schemas.CLASS_SCORES_SCHEMA),
    f"{WORK}/ensemble/oof.parquet": list(schemas.OOF_SCHEMA),
    f"{WORK}/composed/<kind>/<fold>/gates.parquet": list(schemas.COMPOSED_GATES_SCHEMA),
    f"{WORK}/evaluation/recall_curve.csv": list(schemas.CURVE_SCHEMA),
    f"{WORK}/evaluation/confusion.csv": list(schemas.CONFUSION_SCHEMA),
    f"{WORK}/evaluation/per_class.csv": list(schemas.CLASS_SCHEMA),
    f"{WORK}/evaluation/reliability.csv": list(schemas.RELIABILITY_SCHEMA),
    f"{WORK}/evaluation/label_issues.csv": list(schemas.ISSUES_SCHEMA),
    f"{WORK}/evaluation/baselines.csv": list(schemas.BASELINES_SCHEMA),
    f"{WORK}/evaluation/modality_gain.csv": list(schemas.MODALITY_GAIN_SCHEMA),
    f"{WORK}/evaluation/similarity_histogram.csv": list(schemas.SIMILARITY_SCHEMA),
    f"{WORK}/evaluation/k_occurrence.csv": list(schemas.OCCURRENCE_SCHEMA),
    f"{WORK}/evaluation/hubs.csv": list(schemas.HUBS_SCHEMA),
    f"{WORK}/evaluation/embedding_map.parquet": list(schemas.MAP_SCHEMA),
    f"{WORK}/features/trunk/<tower>/header.json": [field.name for field in fields(StoreHeader)],
    f"{WORK}/features/trunk/<tower>-boundary/header.json": [field.name for field in fields(ActivationHeader)],
}


@pytest.mark.parametrize("name", WRITTEN)
def test_columns_are_those_of_the_code(name):
    assert tables()[name] == WRITTEN[name]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return build_run(Run(tmp_path_factory.mktemp("run"), num_products=20, num_rejects=2))


def roots(run) -> list:
    """A made run, and the run of this checkout if there is one."""
    return [run.root, *([ROOT] if (ROOT / "reports/metrics.json").is_file() else [])]


def test_every_file_of_a_run_is_named(run):
    for root in roots(run):
        assert unnamed(root) == []


def test_every_figure_of_a_run_is_described(run):
    for root in roots(run):
        assert undescribed(read_object(root / paths.METRICS)) == []


def test_attributes_have_the_products_and_the_columns_of_the_setting():
    records = Records("x.csv", 1, pl.DataFrame({"row": [1], "product_id": ["a"]}), pl.DataFrame())
    (heading,) = {name for name in tables() if name.endswith("attributes.parquet")}
    assert tables()[heading] == attributes_of(records, records.products).columns
    assert "| each of `data.columns.attributes` | float |" in PAGE.read_text(encoding="utf-8")


def test_every_action_of_a_reject_is_named():
    (row,) = re.findall(r"^\| `action` \|.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    actions = (
        catalogue.REJECTED, catalogue.PHOTO_DROPPED, catalogue.LABEL_CLEARED, catalogue.QUERY_DROPPED,
        catalogue.ANSWER_DROPPED, catalogue.RETAINED,
    )  # fmt: skip
    assert set(re.findall(r"`([^`]+)`", row)) == {"action", *actions}


def test_every_store_of_a_tower_is_named():
    named = inline_code(PAGE)
    stores = {f"image{views}{kind}" for views in ("", VIEWS) for kind in ("", BOUNDARY, TOKENS)}
    assert stores | {"text", f"text{BOUNDARY}", f"image{MIRRORED}"} <= named


def test_every_out_of_dvc_yaml_is_named(tmp_path):
    """Each out holds named files, or is one: a folder that the page says nothing of is none."""
    text = PAGE.read_text(encoding="utf-8")
    outs = [next(iter(out)) if isinstance(out, dict) else out for one in stages().values() for out in one["outs"]]
    folders = [re.sub(r"/?\$\{[^}]*\}.*", "", out) for out in outs]
    assert "data/work/code" in folders
    assert [folder for folder in folders if not re.search(rf"`{re.escape(folder)}[/`]", text)] == []


@pytest.mark.parametrize("protocol", COMPOSED_PREDICTIONS)
def test_every_prediction_file_of_composed_queries_is_named(protocol, tmp_path):
    rows = [(f"val-{n}", "oof", 0, rank, str(rank), 0.5) for n in (1, 2) for rank in range(1, 51)]
    best = pl.DataFrame(rows, schema=RANKINGS_SCHEMA, orient="row")
    evaluation = tmp_path / paths.EVALUATION
    assert write_composed_predictions({"sum": {"recall": best, "recall_subset": best}}, protocol, evaluation) == []
    assert list(evaluation.rglob("*.json")) and unnamed(tmp_path) == []


@pytest.mark.parametrize(
    "name", ["catalogue/counts.json", "shards/meta.json", "shards/manifest.parquet", "folds/folds.parquet"]
)
def test_keys_are_those_of_a_run(name, run):
    for root in roots(run):
        file = root / WORK / name
        if file.is_file():
            found = list(read_object(file)) if file.suffix == ".json" else pl.read_parquet(file).columns
            assert sorted(found) == sorted(tables()[f"{WORK}/{name}"]), file
