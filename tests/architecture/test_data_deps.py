"""Stages with towers depend on the tables that they read, not on their folders, so that a new note retrains nothing.

tests/training trains on a project that has no other table than these (tests/support/tiny_project.py).
"""

from pathlib import Path

import polars as pl
import pytest
from ruamel.yaml import YAML
from tiny_project import write_project

from pipeline_lib.artifacts import paths
from pipeline_lib.features.inputs import extraction_tables, read_extraction_inputs
from pipeline_lib.inference.embeddings import read_predicted, read_queries
from pipeline_lib.loading.products import read_products
from pipeline_lib.params.plan import TRUNK
from pipeline_lib.splitting.seen import read_hashed_products
from pipeline_lib.training.fold_data import read_fold

STAGES = YAML(typ="safe").load((Path(__file__).parents[2] / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def declared(name: str) -> set[str]:
    folders = (paths.CATALOGUE.as_posix(), paths.FOLDS.as_posix())
    return {dep for dep in STAGES[name]["deps"] if dep.startswith(folders)}


def read_for_training(inputs):
    read_fold(inputs, 0, classify=True, captions=True)
    read_hashed_products(inputs.catalogue, inputs.folds)
    return inputs.tables()


def read_for_extraction(inputs):
    read_extraction_inputs(inputs.catalogue, inputs.shards, None)
    return extraction_tables(inputs.catalogue)


def read_for_embedding(inputs):
    read_predicted(inputs.catalogue, inputs.folds, inputs.shards / "manifest.parquet", 0)
    read_queries(inputs.catalogue, ["p0"])


def read_for_search(inputs):
    read_products(inputs.catalogue, inputs.folds, inputs.shards / "manifest.parquet")


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("features", read_for_extraction),
        ("phase", read_for_training),
        ("train", read_for_training),
        ("embed", read_for_embedding),
        ("gallery", read_for_search),
    ],
)
def test_the_tables_among_the_deps_are_those_that_are_read_and_in_the_fingerprint(name, read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs = write_project(paths.WORK, count=18)
    opened, original = set(), pl.read_parquet

    def recording(source, **options):
        opened.add(source.as_posix())
        return original(source, **options)

    monkeypatch.setattr(pl, "read_parquet", recording)
    fingerprinted = read(inputs)
    assert opened - {(inputs.shards / "manifest.parquet").as_posix()} == declared(name)
    assert fingerprinted is None or {path.as_posix() for path in fingerprinted} == declared(name)


def test_only_the_report_reads_the_notes_of_the_folds():
    notes = {(paths.FOLDS / "notes.json").as_posix(), paths.FOLDS.as_posix()}
    assert {name for name, stage in STAGES.items() if notes & set(stage["deps"])} == {"report"}


def test_a_composed_model_depends_on_the_stores_of_the_towers_and_not_on_those_of_teachers():
    """It costs hours, and reads nothing else of data/work/features: plan.composed needs plan.features = [trunk]."""
    own = {dep for dep in STAGES["compose"]["deps"] if dep.startswith(paths.FEATURES.as_posix())}
    assert own == {paths.features_of(TRUNK).as_posix()}
