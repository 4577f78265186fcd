"""Figures and plot tables of the embeddings, from the stores of embed to metrics.json: slow loops over the stores."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest
from embedded_project import make_project
from measured import measure

from pipeline_lib.artifacts import paths, schemas
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.evaluation import embedding_space
from pipeline_lib.evaluation.embedding_space import evaluate_embeddings
from pipeline_lib.params.evaluate import EvaluateParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.stores.store import open_store, write_store
from stages import ensemble

FILES = {
    "similarity_histogram.csv": schemas.SIMILARITY_SCHEMA,
    "k_occurrence.csv": schemas.OCCURRENCE_SCHEMA,
    "hubs.csv": schemas.HUBS_SCHEMA,
    "embedding_map.parquet": schemas.MAP_SCHEMA,
}


def table(name):
    path = paths.EVALUATION / name
    return pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path)


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """A run of nine products with first lists of two."""
    monkeypatch.setattr(embedding_space, "NEIGHBOURS", 1)
    make_project(tmp_path, monkeypatch)
    ensemble.main()
    measure()
    return read_object(paths.METRICS)


def galleries(split):
    """Unit queries and products by id, and the right pairs, of each gallery of a split."""
    relevance = pl.read_parquet(paths.CATALOGUE / "relevance.parquet").select("query_id", "product_id").rows()
    for folder in [paths.ENSEMBLE / "test"] if split == "test" else sorted(paths.ENSEMBLE.glob("oof-*")):
        sides = []
        for name in ("queries", "products"):
            store = open_store(folder / name)
            rows = np.asarray(store.matrix, np.float64)
            sides.append(dict(zip(store.ids, rows / np.linalg.norm(rows, axis=1, keepdims=True), strict=True)))
        yield (*sides, [pair for pair in relevance if pair[0] in sides[0] and pair[1] in sides[1]])


@pytest.mark.parametrize("split", ["oof", "test"])
def test_figures_equal_a_slow_loop(measured, split):
    expected: dict[str, list] = {}
    sizes = []
    for queries, products, right in galleries(split):
        distances = [float(((queries[q] - products[p]) ** 2).sum()) for q, p in right]
        own = {"alignment": np.mean(distances)}
        for side, rows in (("image", list(products.values())), ("text", list(queries.values()))):
            pairs = [np.exp(-2 * ((a - b) ** 2).sum()) for i, a in enumerate(rows) for b in rows[:i]]
            own[f"uniformity_{side}"] = np.log(np.mean(pairs))
        own["modality_gap"] = np.linalg.norm(np.mean([*products.values()], 0) - np.mean([*queries.values()], 0))
        first = [max(products, key=lambda key, row=row: row @ products[key]) for row in queries.values()]
        times = np.array([first.count(key) for key in products])
        own["never_found"] = (times == 0).mean()
        if times.std() > 0:
            own["hub_skewness"] = ((times - times.mean()) ** 3).mean() / times.std() ** 3
        share = 1 / len(products)
        own["never_by_chance"] = (1 - share) ** len(queries)
        own["skewness_by_chance"] = (1 - 2 * share) / (len(queries) * share * (1 - share)) ** 0.5
        for name, value in own.items():
            expected.setdefault(name, []).append(value)
        sizes.append(len(products))
    # A figure that one fold lacks, as the skewness of equal counts, has no mean.
    means = {name: np.average(one, weights=sizes) for name, one in expected.items() if len(one) == len(sizes)}
    chance = {"hub_skewness": means.pop("skewness_by_chance"), "never_found": means.pop("never_by_chance")}
    figures = dict(measured[split]["embedding"])
    assert figures.pop("chance") == pytest.approx(chance, abs=2e-5)
    assert figures == pytest.approx(means, abs=2e-5)


@pytest.mark.parametrize("split", ["oof", "test"])
def test_histograms_and_occurrences_count_every_pair_and_product(measured, split):
    histogram = table("similarity_histogram.csv").filter(pl.col("split") == split)
    counts = {"positive": [], "negative": []}
    for queries, products, right in galleries(split):
        for q, a in queries.items():
            for p, b in products.items():
                counts["positive" if (q, p) in right else "negative"].append(float(a @ b))
    for pair, cosines in counts.items():
        own = histogram.filter(pl.col("pair") == pair)
        assert own["count"].sum() == len(cosines)
        for row in own.iter_rows(named=True):
            assert row["count"] == sum(row["low"] <= cosine < row["high"] for cosine in cosines)
    occurrences = table("k_occurrence.csv").filter(pl.col("split") == split)
    assert occurrences["products"].sum() == sum(len(products) for _, products, _ in galleries(split))
    found = sum(len(queries) for queries, _, _ in galleries(split))
    assert (occurrences["times"] * occurrences["products"]).sum() == found
    hubs = table("hubs.csv").filter(pl.col("split") == split)
    assert hubs["times"].max() == occurrences["times"].max()


def test_tables_have_their_columns_and_the_map_is_of_test(measured):
    for name, schema in FILES.items():
        assert table(name).columns == list(schema), name
    points = table("embedding_map.parquet")
    assert points["split"].unique().to_list() == ["test"] and points["projection"].unique().to_list() == ["pca"]
    both = points.group_by("product_id").agg(pl.col("modality").sort())["modality"].to_list()
    assert both == [["photo", "text"]] * 3
    labels = dict(points.select("product_id", "label").iter_rows())
    assert labels == {"t0": "hat", "t1": None, "t2": "cup"}
    ((explained,),) = points.select("explained").unique().rows()
    assert 0 < explained <= 1


def params(**changes):
    section = parse_section(EvaluateParams, load_params(Path("params.yaml")))
    return section.model_copy(update=changes)


def evaluated(**changes):
    relevance, products = (pl.read_parquet(paths.CATALOGUE / f"{name}.parquet") for name in ("relevance", "products"))
    return evaluate_embeddings([0, 1], params(**changes), relevance, products)


def test_lists_shorter_than_the_first_ten_have_no_figures_of_hubs(tmp_path, monkeypatch):
    """Five products of each query say nothing of the first ten."""
    rng = np.random.default_rng(5)
    make_project(tmp_path, monkeypatch)
    ids = [f"p{number}" for number in range(12)]
    for name in ("products", "queries"):
        keys = [key if name == "products" else f"q-{key}" for key in ids]
        write_store(paths.ENSEMBLE / "test" / name, keys, rng.normal(size=(12, 8)).astype(np.float32), ("a", "b"))
    pairs = pl.DataFrame({"query_id": [f"q-{key}" for key in ids], "product_id": ids, "grade": 1})
    products = pl.DataFrame({"product_id": ids, "label": None}, schema={"product_id": pl.String, "label": pl.String})
    for depth, known in ((10, True), (5, False)):
        lists = [("test", None, f"q-{key}", ids[(row + rank) % 12], rank, 0.5) for row, key in enumerate(ids)
                 for rank in range(1, depth + 1)]  # fmt: skip
        table = pl.DataFrame(lists, ["split", "fold", "query_id", "product_id", "rank", "score"], orient="row")
        table.cast({"fold": pl.Int64}).write_parquet(paths.ENSEMBLE / "rankings.parquet")
        figures = evaluate_embeddings([], params(), pairs, products).figures["test"]["embedding"]
        assert ("never_found" in figures) is known and "alignment" in figures


def test_sampled_figures_are_near_the_full_ones_and_repeat(measured, monkeypatch):
    """Random vectors of 2,000 products: a sample of a tenth has the same figures within its noise."""
    rng = np.random.default_rng(5)
    ids = [f"p{number}" for number in range(2_000)]
    products = rng.normal(size=(2_000, 8)) + 0.5
    for name, rows in (("products", products), ("queries", products + rng.normal(size=(2_000, 8)))):
        keys = [key if name == "products" else f"q-{key}" for key in ids]
        write_store(paths.ENSEMBLE / "test" / name, keys, rows.astype(np.float32), ("a", "b"))
    pairs = pl.DataFrame({"query_id": [f"q-{key}" for key in ids], "product_id": ids, "grade": 1})
    pairs.write_parquet(paths.CATALOGUE / "relevance.parquet")
    full = evaluated().figures["test"]["embedding"]
    for name, value in (("MAX_PAIRS", 500), ("MAX_ROWS", 300)):
        monkeypatch.setattr(embedding_space, name, value)
    few, again = (evaluated() for _ in range(2))
    assert few.figures == again.figures and all(few.tables[name].equals(again.tables[name]) for name in FILES)
    sampled = few.figures["test"]["embedding"]
    assert sampled.pop("chance") == full.pop("chance")
    assert sampled != full and sampled == pytest.approx(full, abs=0.08)
    counted = few.tables["similarity_histogram.csv"].filter(pl.col("split") == "test")
    assert 990 <= counted["count"].sum() <= 1_000


def test_a_run_without_texts_has_no_figures_and_empty_tables(measured):
    for folder in paths.ENSEMBLE.glob("*/queries/header.json"):
        folder.unlink()
    space = evaluated()
    assert space.figures == {} and space.trees() == ({}, {})
    assert {name: (len(frame), frame.columns) for name, frame in space.tables.items()} == {
        name: (0, list(schema)) for name, schema in FILES.items()
    }


def test_lists_as_long_as_the_gallery_say_nothing_of_hubs(measured, monkeypatch):
    monkeypatch.setattr(embedding_space, "NEIGHBOURS", 3)
    figures = evaluated().figures["test"]["embedding"]
    assert not {"hub_skewness", "never_found", "chance"} & set(figures) and "alignment" in figures


def test_umap_that_is_not_installed_is_one_clear_line(measured, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ValueError, match=r"evaluate\.projection = umap needs the package umap-learn.*=pca"):
        evaluated(projection="umap")


def test_umap_gets_unit_vectors_and_the_seed(measured, monkeypatch):
    module, asked = ModuleType("umap"), {}

    class Flat:
        def __init__(self, **options):
            asked.update(options)

        def fit_transform(self, vectors):
            assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(6), abs=1e-5)
            return vectors[:, :2].astype(np.float32)

    module.UMAP = Flat
    monkeypatch.setitem(sys.modules, "umap", module)
    points = evaluated(projection="umap").tables["embedding_map.parquet"]
    assert asked["random_state"] == params().seed and asked["n_neighbors"] == 5
    assert points["projection"].unique().to_list() == ["umap"] and points["explained"].is_null().all()
