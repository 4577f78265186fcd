"""A catalogue of nine products with the embeddings and probabilities of two folds at two scales."""

import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from dvc.utils.hydra import apply_overrides

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import write_json
from pipeline_lib.params.ensemble import EnsembleParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.splitting.seen import read_hashed_products, seen_by_run, write_seen
from pipeline_lib.stores.store import write_store

CLASSES = ["cup", "hat"]
DIM = 6


def ensemble_params(**changes):
    """Return the ensemble section of params.yaml with some settings changed."""
    params = parse_section(EnsembleParams, load_params(Path(__file__).parents[2] / "params.yaml"))
    return params.model_copy(update=changes)


def unit_rows(rng, count, dim=DIM):
    rows = rng.standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write_member(folder: Path, fold: int, scale: int, product_ids, query_ids, classes=CLASSES):
    rng = np.random.default_rng(100 * fold + scale)
    write_store(folder / "products", product_ids, unit_rows(rng, len(product_ids)), (f"model-{fold}", f"{scale}px"))
    write_store(folder / "queries", query_ids, unit_rows(rng, len(query_ids)), (f"model-{fold}", f"{scale}px"))
    probabilities = rng.dirichlet(np.ones(len(classes)), len(product_ids)).astype(np.float32)
    write_store(folder / "probabilities", product_ids, probabilities, (f"model-{fold}", f"{scale}px"), dtype="float32")
    write_json(folder / "classes.json", classes)


def write_model_card(folder: Path, fold: int, earlier=()):
    """Write the card of a model of this project and what it has seen, without weights."""
    folder.mkdir(parents=True, exist_ok=True)
    seen = write_seen(folder, seen_by_run(read_hashed_products(paths.CATALOGUE, paths.FOLDS), fold, earlier))
    write_json(folder / "model.json", {"run": {"fold": fold, "seen": seen}})


@cache
def two_folds() -> bytes:
    """The content of params.yaml with two folds and two scales; DVC takes a tenth of a second to write it."""
    with TemporaryDirectory() as folder:
        path = Path(shutil.copy(Path(__file__).parents[2] / "params.yaml", folder))
        apply_overrides(path, ["plan.folds=[0,1]", "plan.scales=[64,80]"])
        return path.read_bytes()


def make_project(tmp_path, monkeypatch):
    """Change to a directory with params, catalogue, folds and embeddings; p0-p5 are in folds 0 and 1, t0-t2 in test."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_bytes(two_folds())
    ids = ["p0", "p1", "p2", "p3", "p4", "p5", "t0", "t1", "t2"]
    labels = ["cup", "hat", "cup", None, "cup", "sofa", "hat", None, "cup"]
    catalogue, folds = paths.CATALOGUE, paths.FOLDS
    catalogue.mkdir(parents=True)
    paths.NO_PREDICTIONS.mkdir(parents=True)
    folds.mkdir()
    # t2 has no photo; p4 has no text, but a query.
    media = [[] if key == "t2" else [f"{key}.jpg"] for key in ids]
    texts = ["" if key == "p4" else f"text of {key}" for key in ids]
    products = {"product_id": ids, "media": media, "text": texts, "label": labels, "group_id": ids}
    pl.DataFrame(products).write_parquet(catalogue / "products.parquet")
    pl.DataFrame({"product_id": ids, "content": media}).write_parquet(catalogue / "media.parquet")
    query_ids = [f"q-{key}" for key in ids]
    # The last query is an image query, which is not embedded.
    columns = {"query_id": [*query_ids, "photo"], "kind": ["text"] * 9 + ["image"], "split": [None] * 10}
    columns |= {"text": [*texts, None], "subset": [[]] * 10}
    queries = pl.DataFrame(columns, schema_overrides={"split": pl.String, "subset": pl.List(pl.String)})
    queries.write_parquet(catalogue / "queries.parquet")
    # p0 and p1 share their text, and so do p4 (fold 1) and t0 (test).
    pairs = [*zip(query_ids, ids, strict=True), ("q-p0", "p1"), ("q-p1", "p0"), ("q-p4", "t0"), ("photo", "p0")]
    relevance = pl.DataFrame(pairs, schema=["query_id", "product_id"], orient="row").with_columns(grade=1)
    relevance.write_parquet(catalogue / "relevance.parquet")
    slices = pl.DataFrame(schema={"query_id": pl.String, "slice": pl.String})
    slices.write_parquet(catalogue / "query_slices.parquet")
    write_json(
        catalogue / "counts.json",
        {
            "products": 9,
            "queries": 9,
            "composed": {},
            "rejected": 1,
            "reasons": {},
            "classes": 3,
            "columns": {"id": "id"},
            "groups": {"same_groups": 1},
        },
    )
    write_json(folds / "groups.json", {"fold_groups": 2})
    assigned = {
        "product_id": ids,
        "split": ["train"] * 6 + ["test"] * 3,
        "fold": [0, 0, 0, 1, 1, 1, None, None, None],
    }
    pl.DataFrame(assigned).write_parquet(folds / "folds.parquet")
    for fold in (0, 1):
        write_model_card(paths.train_of(fold), fold)
    for fold, held_out in ((0, ids[:3]), (1, ids[3:6])):
        for scale in (64, 80):
            write_member(paths.embed_of(fold, scale), fold, scale, [*held_out, *ids[6:]], query_ids)
