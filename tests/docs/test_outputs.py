"""docs/outputs.md names the columns and keys that the code writes, and every file of a run."""

import re
from dataclasses import fields

import polars as pl
import pytest
from documents import ROOT, inline_code
from made_run import Run, build_run

from pipeline_lib.artifacts import schemas
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.catalogue import schema as catalogue
from pipeline_lib.evaluation.baselines.stored import SCHEMA as BASELINE_PREDICTIONS
from pipeline_lib.stores.activations import ActivationHeader
from pipeline_lib.stores.store import StoreHeader

PAGE = ROOT / "docs" / "outputs.md"
WORK = "data/work"
# Heading of the page -> the columns or keys that the code gives the file.
WRITTEN = {
    **{f"{WORK}/catalogue/{name}.parquet": list(columns) for name, columns in catalogue.TABLES.items()},
    f"{WORK}/frames/clips/frames.parquet": list(schemas.FRAMES_SCHEMA),
    f"{WORK}/frames/clips/clips.parquet": list(schemas.CLIPS_SCHEMA),
    f"{WORK}/train/<fold>/mined.parquet": list(schemas.MINED_SCHEMA),
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


def tables() -> dict[str, list[str]]:
    """The heading of each file of the page, and the names in the first column of the table under it."""
    found = {}
    for part in re.split(r"^### ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        heading = re.match(r"`([^`]+)`", part)[1]
        body = re.split(r"^## ", part, flags=re.MULTILINE)[0]
        found[heading] = re.findall(r"^\| `(\w+)` \|", body, re.MULTILINE)
    return found


@pytest.mark.parametrize("name", WRITTEN)
def test_columns_are_those_of_the_code(name):
    assert tables()[name] == WRITTEN[name]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return build_run(Run(tmp_path_factory.mktemp("run"), num_products=20, num_rejects=2))


def roots(run) -> list:
    """A made run, and the run of this checkout if there is one."""
    return [run.root, *([ROOT] if (ROOT / "reports/metrics.json").is_file() else [])]


def pattern(path: str) -> str:
    """The expression for a path of the page; a folder stands for what the text says is in it."""
    return re.sub(r"<[a-z]+>", "[^/]+", re.escape(path).replace(r"\<", "<").replace(r"\>", ">"))


def test_every_file_of_a_run_is_named(run):
    """Files of a stage's folder may be named without it: `index.faiss`, `matrix.npy`, `tokenizer/`."""
    codes = [code.rstrip("/") for code in inline_code(PAGE)] + list(tables())
    full = [pattern(code) for code in codes if code.startswith(("data/", "reports/"))]
    bare = {code for code in codes if "/" not in code}
    for root in roots(run):
        for file in [*root.glob("data/work/**/*"), *root.glob("reports/**/*")]:
            name = file.relative_to(root).as_posix()
            if not file.is_file() or "/." in name or "/copies/" in name:
                continue
            inside = any(re.match(f"{folder}/", name) for folder in full)
            known = file.name in bare or file.parent.name in bare or "/figures/" in name
            assert any(re.fullmatch(one, name) for one in full) or (inside and known), name


@pytest.mark.parametrize(
    "name", ["catalogue/counts.json", "shards/meta.json", "shards/manifest.parquet", "folds/folds.parquet"]
)
def test_keys_are_those_of_a_run(name, run):
    for root in roots(run):
        file = root / WORK / name
        if file.is_file():
            found = list(read_object(file)) if file.suffix == ".json" else pl.read_parquet(file).columns
            assert sorted(found) == sorted(tables()[f"{WORK}/{name}"]), file
