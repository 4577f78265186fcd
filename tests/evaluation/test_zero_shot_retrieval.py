"""Retrieval by an untouched pair equals a slow ranking of its stored features, in the models' galleries."""

import numpy as np
import polars as pl
import pytest
from stored_trunk import make_products, write_trunk

from pipeline_lib.artifacts.schemas import RANKS_SCHEMA
from pipeline_lib.evaluation.baselines.trunk_features import read_trunk
from pipeline_lib.evaluation.baselines.zero_shot_retrieval import zero_shot_galleries, zero_shot_trees
from pipeline_lib.params.evaluate import EvaluateParams
from pipeline_lib.params.section import load_params, parse_section

PARAMS = parse_section(EvaluateParams, load_params()).model_copy(update={"bootstrap": 100, "hubness": []})


def tables(tmp_path, subset=(), **options):
    products = make_products().with_columns(group_id=pl.col("product_id"))
    write_trunk(tmp_path, products, **options)
    own = products.filter((pl.col("text") != "") & (pl.col("media").list.len() > 0))
    query_ids = "q " + own["product_id"]
    queries = pl.DataFrame({"query_id": query_ids, "kind": "text", "text": own["text"]})
    queries = queries.with_columns(subset=pl.lit(subset, pl.List(pl.String)))
    relevance = pl.DataFrame({"query_id": query_ids, "product_id": own["product_id"], "grade": 1})
    ranked = own.filter((pl.col("split") == "test") | (pl.col("fold") == 1)).with_columns(
        split=pl.when(pl.col("split") == "test").then(pl.lit("test")).otherwise(pl.lit("oof"))
    )
    columns = {name: pl.lit(None, dtype) for name, dtype in RANKS_SCHEMA.items()}
    columns |= {"split": pl.col("split"), "fold": pl.col("fold"), "direction": pl.lit("text_to_image")}
    ranks = ranked.select(**columns | {"query_id": "q " + pl.col("product_id")})
    queries.write_parquet(tmp_path / "queries.parquet")
    slices = pl.DataFrame(schema={"query_id": pl.String, "slice": pl.String})
    slices.write_parquet(tmp_path / "query_slices.parquet")
    relevance.write_parquet(tmp_path / "relevance.parquet")
    return products, queries, ranks


def test_figures_equal_a_slow_ranking_of_the_stored_features(tmp_path):
    products, _, ranks = tables(tmp_path, signal=0.3)
    figures, intervals = zero_shot_trees(tmp_path, tmp_path, products, ranks, PARAMS)
    features = read_trunk(tmp_path, products)
    row_of = {key: row for row, key in enumerate(products["product_id"])}
    for split, inside in (("test", products["split"] == "test"), ("oof", (products["fold"] == 1).fill_null(False))):
        gallery = np.flatnonzero(inside.to_numpy())
        hits = []
        for query_id in ranks.filter(pl.col("split") == split)["query_id"]:
            row = row_of[query_id.removeprefix("q ")]
            scores = features.image[gallery] @ features.text[row]
            hits.append(int((scores > scores[gallery.tolist().index(row)]).sum()) < 1)
        own = figures[split]["retrieval_zero_shot"]["text_to_image"]
        assert own["R@1"] == pytest.approx(np.mean(hits), abs=1e-4) and own["num_gallery"] == len(gallery)
        assert intervals[split]["retrieval_zero_shot"]["text_to_image"]["R@1"][0] <= own["R@1"]
    assert 0 < np.mean(hits) < 1


@pytest.mark.parametrize("why", ["the towers are no pair", None])
def test_towers_that_are_no_pair_have_no_figures(tmp_path, why):
    products, _, ranks = tables(tmp_path, why_apart=why)
    assert zero_shot_trees(tmp_path if why else None, tmp_path, products, ranks, PARAMS) == ({}, {})


def test_the_features_of_towers_that_are_no_pair_are_not_read(tmp_path):
    products, queries, ranks = tables(tmp_path, why_apart="the towers are no pair")
    (tmp_path / "image" / "matrix.npy").unlink()
    assert zero_shot_galleries(tmp_path, products, queries, ranks) == []


def test_a_gallery_with_other_queries_than_texts_is_left_out(tmp_path):
    products, queries, ranks = tables(tmp_path)
    first = ranks.filter(pl.col("split") == "test")["query_id"][0]
    composed = queries.with_columns(
        kind=pl.when(pl.col("query_id") == first).then(pl.lit("composed")).otherwise(pl.lit("text"))
    )
    assert [gallery.split for gallery in zero_shot_galleries(tmp_path, products, composed, ranks)] == ["oof"]


def test_the_pair_is_measured_among_the_subsets_of_the_queries(tmp_path):
    products = make_products()
    first, second = products.filter(pl.col("split") == "test")["product_id"][:2]
    products, _, ranks = tables(tmp_path, subset=[first, second], signal=0.3)
    figures, _ = zero_shot_trees(tmp_path, tmp_path, products, ranks, PARAMS)
    features = read_trunk(tmp_path, products)
    row_of = {key: row for row, key in enumerate(products["product_id"])}
    hits, asked = [], ranks.filter(pl.col("split") == "test")["query_id"]
    for query_id in asked:
        row, others = row_of[query_id.removeprefix("q ")], [row_of[first], row_of[second]]
        scores = features.image @ features.text[row]
        hits.append(scores[row] >= scores[others].max())
    own = figures["test"]["retrieval_zero_shot"]["text_to_image"]
    assert own["R_subset@1"] == pytest.approx(np.mean(hits), abs=1e-4) and 0 < np.mean(hits) < 1
    assert (
        own["num_subset_queries"] == len(asked)
        and "R_subset@1" not in figures["oof"]["retrieval_zero_shot"]["text_to_image"]
    )
