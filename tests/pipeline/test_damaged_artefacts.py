"""Outs of stages that other stages, the search and `vitrine` read: each damage is one line with its name."""

import shutil

import pytest
from damages import GROSS, refused_damages

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.read import read_table
from pipeline_lib.catalogue.tables import read_catalogue, read_near_duplicates
from pipeline_lib.ensembling.external_predictions import MODELS, open_external
from pipeline_lib.ensembling.galleries import read_galleries
from pipeline_lib.ensembling.members import open_members
from pipeline_lib.evaluation.baselines.stored import read_baselines
from pipeline_lib.evaluation.judged import judged_trees
from pipeline_lib.evaluation.summary import data_counts
from pipeline_lib.retrieval.gallery_vectors import gallery_vectors, open_gallery
from pipeline_lib.splitting.seen import read_hashed_products, read_saved_models
from pipeline_lib.stores.activations import open_activations
from pipeline_lib.stores.store import open_store

VIEWS, SAVED = paths.views_of(32), paths.PREDICTIONS / "other/run"
FOLDS_TABLE = paths.FOLDS / "folds.parquet"


def baselines():
    scored = read_table(paths.ENSEMBLE / "class_scores.parquet").select("product_id", "split", "label")
    return read_baselines(paths.BASELINES, scored, ["hat", "lamp", "mug"])


def external():
    galleries = read_galleries(paths.CATALOGUE, FOLDS_TABLE, [0, 1])
    return open_external(paths.PREDICTIONS / "other", ["hat", "lamp", "mug"], galleries)


# What is read: folder, how, and how many files at least.
READERS = {
    "views": (VIEWS / "image-mirrored", lambda: open_store(VIEWS / "image-mirrored"), 3),
    "activations": (
        VIEWS / "image-mirrored-boundary", lambda: open_activations(VIEWS / "image-mirrored-boundary"), 3),
    "gallery": (paths.gallery_of(0), lambda: gallery_vectors(*open_gallery(paths.gallery_of(0)), 0.5), 6),
    "baselines": (paths.BASELINES, baselines, 3),
    "embeddings": (paths.EMBED, lambda: open_members(paths.embed_of, [0, 1], [32]), 20),
    "groups": (paths.FOLDS, lambda: data_counts(paths.CATALOGUE, paths.FOLDS), 1),
    "catalogue": (paths.CATALOGUE, lambda: read_catalogue(paths.CATALOGUE), 8),
    "duplicates": (paths.CATALOGUE, lambda: read_near_duplicates(paths.CATALOGUE), 1),
    "products": (paths.WORK, lambda: read_hashed_products(paths.CATALOGUE, paths.FOLDS), 3),
    "galleries": (paths.WORK, lambda: read_galleries(paths.CATALOGUE, FOLDS_TABLE, [0, 1]), 4),
    "external predictions": (SAVED, external, 2),
    "saved models": (SAVED, lambda: read_saved_models(SAVED / MODELS, [0, 1]), 4),
    "judged": (paths.JUDGED, lambda: judged_trees([0]), 2),
}  # fmt: skip


@pytest.fixture(scope="module")
def outs(built_project, tmp_path_factory):
    """A folder with the project's outs, saved predictions, and figures of judged queries; tests put back each file."""
    root = tmp_path_factory.mktemp("outs")
    shutil.copytree(built_project.folder / "data", root / "data", ignore=shutil.ignore_patterns("raw", "code"))
    for name in ("probabilities.parquet", "classes.json"):
        (root / SAVED).mkdir(parents=True, exist_ok=True)
        shutil.copy(root / paths.ENSEMBLE / name, root / SAVED / name)
    for fold in ("0", "1"):
        (root / SAVED / MODELS / fold).mkdir(parents=True)
        for name in ("model.json", "seen.npy"):
            shutil.copy(root / paths.TRAIN / fold / name, root / SAVED / MODELS / fold / name)
    figures = {"nDCG@10": 0.5, "num_queries": 3, "chance": {"nDCG@10": 0.25}}
    write_json(root / paths.judged_of(0) / paths.JUDGED_FIGURES, figures)
    write_json(root / paths.judged_of(0) / paths.JUDGED_INTERVALS, {"nDCG@10": [0.25, 0.75]})
    return root


@pytest.mark.parametrize("name", READERS)
def test_damage_is_one_line_with_the_name(outs, monkeypatch, name):
    monkeypatch.chdir(outs)
    folder, read, least = READERS[name]
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in (".json", ".parquet", ".npy")]
    # Of a whole project, the tables alone: stores are read by other cases.
    files = [path for path in files if folder != paths.WORK or path.parent in (paths.CATALOGUE, paths.FOLDS)]
    refused, accepted = refused_damages(files, read)
    read_files = {file for file, _ in refused}
    missed = {(file, damage) for file, damage in accepted if damage in GROSS and file in read_files}
    assert not missed, missed
    assert sum(path.name in read_files for path in files) >= least, (read_files, accepted)
