"""Models for composed queries with their embeddings and tables: damaged in any way, each is one line with its name."""

import shutil

import polars as pl
import pytest
from composed_project import composed_config, write_composed_project
from damages import GROSS, refused_damages
from made_composed import add_composed
from made_run import Run, build_run

from pipeline_lib.artifacts import paths
from pipeline_lib.evaluation.composed import ComposedModels, evaluate_composed
from pipeline_lib.models.composed.saved import load_composed
from pipeline_lib.report.composed_inputs import ComposedTables
from pipeline_lib.training.composed.fold import train_composed
from pipeline_lib.training.composed.triplets import read_composed_data, read_composed_products


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with a small catalogue and a trained model of each kind."""
    root = tmp_path_factory.mktemp("composed")
    folders = write_composed_project(root, num_shapes=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITRINE_CHECKPOINTS", str(root / "checkpoints"))
        for kind, changes in (("sum", {}), ("combiner", {"fusion": "guided"}), ("q_former", {"fusion": "gated"})):
            (root / kind).mkdir()
            train_composed(composed_config(kind, epochs=1, **changes), folders, 0, kind, root / kind)
    return root


@pytest.mark.parametrize("kind", ["sum", "combiner", "q_former"])
def test_a_model(project, kind):
    folder = project / kind
    tokenizer = sorted((folder / "tokenizer").glob("*.json"))
    assert bool(tokenizer) == (kind == "q_former")
    files = [folder / "model.json", folder / "model.safetensors", *tokenizer]
    refused, accepted = refused_damages(files, lambda: load_composed(folder))
    assert {file for file, _ in refused} == {path.name for path in files}
    assert not {one for one in accepted if one[1] in GROSS}


def test_the_embeddings_and_the_tables_that_evaluate_and_compose_read(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("catalogue", "folds"):
        shutil.copytree(project / name, paths.WORK / name)
    shutil.copytree(project / "sum", paths.composed_of("sum", 0))
    pl.DataFrame(schema={"query_id": pl.String, "slice": pl.String}).write_parquet(
        paths.CATALOGUE / "query_slices.parquet"
    )
    models = ComposedModels(("sum",), (0,), "catalogue")

    def evaluate():
        products = read_composed_products(paths.CATALOGUE, paths.FOLDS).with_columns(text=pl.lit(""))
        evaluate_composed(models, paths.CATALOGUE, products, None)
        read_composed_data(paths.CATALOGUE, paths.FOLDS, 0)

    stores = [path for name in ("queries", "products") for path in (paths.composed_of("sum", 0) / name).iterdir()]
    tables = [*paths.CATALOGUE.glob("*.parquet"), *paths.FOLDS.glob("*.parquet")]
    unread = ("media.parquet",)
    files = [path for path in (*stores, *tables) if path.name not in unread]
    refused, accepted = refused_damages(files, evaluate)
    assert {file for file, _ in refused} == {path.name for path in files}
    assert not {one for one in accepted if one[1] in GROSS}


def test_the_tables_that_the_report_reads(tmp_path, monkeypatch):
    run = add_composed(build_run(Run(tmp_path)))
    monkeypatch.chdir(tmp_path)
    query = next(iter(run.rows["composed"]))

    def read():
        tables = ComposedTables.read(tmp_path)
        tables.best([query])
        tables.gates("sum", 0, [query])
        tables.run("sum", 0)

    names = ("composed_ranks.parquet", "composed_best.parquet", "gates.parquet")
    files = [path for path in tmp_path.rglob("*") if path.name in names and "q_former" not in str(path)]
    files = [path for path in files if "/1/" not in str(path)] + [paths.composed_of("sum", 0) / "model.json"]
    assert len(files) == 4
    refused, accepted = refused_damages(files, read)
    assert {file for file, _ in refused} == {path.name for path in files}
    assert not {one for one in accepted if one[1] in GROSS}
