"""The fused scores equal the mean of the members' scores, and each query ranks its gallery."""

import numpy as np
import polars as pl
import pytest
from embedded_project import ensemble_params, make_project

from pipeline_lib.artifacts import paths
from pipeline_lib.ensembling.classification import classify
from pipeline_lib.ensembling.fuse import fuse_retrieval
from pipeline_lib.ensembling.galleries import read_galleries
from pipeline_lib.ensembling.members import open_members
from pipeline_lib.stores.store import open_store


@pytest.fixture
def project(tmp_path, monkeypatch):
    make_project(tmp_path, monkeypatch)


@pytest.fixture
def parts(project):
    members = open_members(paths.embed_of, [0, 1], [64, 80])
    return members, read_galleries(paths.CATALOGUE, paths.FOLDS / "folds.parquet", [0, 1])


def normalised(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_test_scores_are_the_mean_cosine_of_the_folds(parts, tmp_path):
    members, (*_, test) = parts
    ids = test.products["product_id"].to_list()
    rankings = fuse_retrieval(test, members, tmp_path / "test", depth=50)
    cosines = []
    for fold in (0, 1):
        scales = [member for member in members if member.fold == fold]
        queries = normalised(sum(member.queries.rows(test.query_ids) for member in scales))
        products = normalised(sum(member.products.rows(ids) for member in scales))
        cosines.append(queries @ products.T)
    expected = np.mean(cosines, axis=0)
    stored = open_store(tmp_path / "test" / "products")
    assert stored.ids == ids
    assert (stored.header.encoder, stored.header.preprocessing) == ("model-0+model-1", "64px+80px")
    assert stored.header.dim == 12
    for query_id, product_id, score in rankings.select("query_id", "product_id", "score").rows():
        assert score == pytest.approx(expected[test.query_ids.index(query_id), ids.index(product_id)], abs=1e-6)


def test_each_query_ranks_the_full_gallery_once(parts, tmp_path):
    members, (first, *_) = parts
    rankings = fuse_retrieval(first, members[:2], tmp_path / "oof-0", depth=50)
    assert rankings.height == len(first.query_ids) * 3
    for _, part in rankings.group_by("query_id"):
        assert part["rank"].to_list() == [1, 2, 3]
        assert set(part["product_id"]) == {"p0", "p1", "p2"}
        assert part["score"].is_sorted(descending=True)


def test_probabilities_are_the_mean_over_eligible_members(parts):
    members, galleries = parts
    predictions = pl.concat(classify(galleries, members, ensemble_params()).probabilities())
    for gallery, eligible in zip(galleries, (members[:2], members[2:], members), strict=True):
        ids = gallery.products["product_id"].to_list()
        table = predictions.filter(pl.col("product_id").is_in(ids))
        expected = np.mean([member.probabilities.rows(ids) for member in eligible], axis=0)
        assert np.stack(table["probabilities"].to_list()) == pytest.approx(expected, abs=1e-6)
        assert table["label"].to_list() == gallery.products["label"].to_list()
