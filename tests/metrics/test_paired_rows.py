"""The row-paired protocol of old logs: equal to a slow loop over rows, and its relation to the true figures."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.artifacts.schemas import RANKS_SCHEMA
from pipeline_lib.metrics.gallery_ranks import Gallery, rank_gallery
from pipeline_lib.metrics.paired_rows import paired_ranks, rank_rows
from pipeline_lib.metrics.ranking import rank_figures, ranks_of
from pipeline_lib.metrics.relevance import positions_from_lists


def captioned(num_images, per_image, queries, products):
    """A gallery in which caption c of image i is `i-c`, and its relevance."""
    query_ids = [f"{image}-{caption}" for image in range(num_images) for caption in range(per_image)]
    pairs = [(query, query.partition("-")[0], 1) for query in query_ids]
    relevance = pl.DataFrame(pairs, schema=["query_id", "product_id", "grade"], orient="row")
    return Gallery("test", None, query_ids, queries, [str(i) for i in range(num_images)], products), relevance


def figures(ranks, direction):
    return rank_figures(ranks_of(ranks.filter(pl.col("direction") == direction)))


def slow_rank(scores, truth, copy_of):
    """Rank of row `truth`: copies of one item in row order, but all ties in random order if other items tie too."""
    above = sum(score > scores[truth] for score in scores)
    copies = [row for row in range(len(scores)) if copy_of[row] == copy_of[truth]]
    tied = [row for row in range(len(scores)) if scores[row] == scores[truth]]
    if len(tied) > len(copies):
        return 1 + above + (len(tied) - 1) / 2
    return 1 + above + copies.index(truth)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_equals_a_slow_loop_over_rows(seed):
    """Integer embeddings give many ties; some texts have several images, some images no text."""
    rng = np.random.default_rng(seed)
    queries = rng.integers(-2, 3, (rng.integers(1, 6), 2)).astype(np.float32)
    products = rng.integers(-2, 3, (rng.integers(1, 5), 2)).astype(np.float32)
    own = [rng.choice(len(products), rng.integers(1, len(products) + 1), replace=False) for _ in queries]
    pairs = positions_from_lists(own)
    rows = [(query, int(product)) for query in range(len(queries)) for product in pairs.row(query)]
    text, image = (ranks.expected() for ranks in paired_ranks(queries, products, pairs))
    for row, (query, product) in enumerate(rows):
        scores = [float(queries[query] @ products[other]) for _, other in rows]
        assert text[row] == pytest.approx(slow_rank(scores, row, [other for _, other in rows]))
        scores = [float(products[product] @ queries[other]) for other, _ in rows]
        higher, equal = sum(s > scores[row] for s in scores), sum(s == scores[row] for s in scores)
        assert image[row] == pytest.approx(1 + higher + (equal - 1) / 2)


@pytest.mark.parametrize("num_images", [4, 60])
def test_a_perfect_model_with_five_captions_scores_a_fifth(num_images):
    rng = np.random.default_rng(0)
    products = np.eye(num_images, dtype=np.float32)
    # Captions of one image differ a little, so their order among themselves is unrelated to the model.
    queries = np.repeat(products, 5, axis=0) * rng.uniform(0.9, 1, (5 * num_images, 1)).astype(np.float32)
    gallery, relevance = captioned(num_images, 5, queries, products)
    ranks = rank_rows(gallery, relevance)
    assert ranks.schema == RANKS_SCHEMA
    for direction in ("text_to_image", "image_to_text"):
        logged = figures(ranks, direction)
        assert (logged["R@1"], logged["R@5"]) == (pytest.approx(0.2), 1.0)
        assert figures(rank_gallery(gallery, relevance), direction)["R@1"] == 1.0
    assert ranks["num_gallery"].unique().to_list() == [5 * num_images]


@pytest.mark.parametrize("noise", [1.0, 1.5, 2.0])
def test_true_scores_are_recovered_from_logged_ones(noise):
    """Exactly five captions: logged I2T R@1 = true / 5; logged T2I R@5 and R@10 = true R@1 and R@2."""
    rng = np.random.default_rng(int(10 * noise))
    products = rng.standard_normal((80, 24)).astype(np.float32)
    products /= np.linalg.norm(products, axis=1, keepdims=True)
    queries = np.repeat(products, 5, axis=0) + noise * rng.standard_normal((400, 24)).astype(np.float32) / 5
    gallery, relevance = captioned(80, 5, queries.astype(np.float32), products)
    logged, true = rank_rows(gallery, relevance), rank_gallery(gallery, relevance)
    assert figures(logged, "image_to_text")["R@1"] == pytest.approx(figures(true, "image_to_text")["R@1"] / 5)
    ranks = true.filter(pl.col("direction") == "text_to_image")["rank"].to_numpy()
    assert figures(logged, "text_to_image")["R@5"] == pytest.approx((ranks <= 1).mean())
    assert figures(logged, "text_to_image")["R@10"] == pytest.approx((ranks <= 2).mean())
    assert 0.2 < (ranks <= 1).mean() < 1


def test_a_collapsed_model_scores_at_chance():
    ones = np.ones((1, 8), np.float32)
    gallery, relevance = captioned(20, 5, np.repeat(ones, 100, axis=0), np.repeat(ones, 20, axis=0))
    ranks = rank_rows(gallery, relevance)
    for direction in ("text_to_image", "image_to_text"):
        assert figures(ranks, direction)["mean_rank"] == pytest.approx(50.5)
        assert figures(ranks, direction)["R@10"] == pytest.approx(10 / 100)


def test_rows_have_unique_names_and_queries_without_relevance_have_no_row():
    products = np.eye(2, dtype=np.float32)
    pairs = [("q", "a", 1), ("q", "b", 1), ("r", "b", 1), ("r", "a", 0)]
    relevance = pl.DataFrame(pairs, schema=["query_id", "product_id", "grade"], orient="row")
    gallery = Gallery("oof", 0, ["q", "r", "nobody"], np.ones((3, 2), np.float32), ["a", "b"], products)
    ranks = rank_rows(gallery, relevance)
    assert ranks["query_id"].to_list() == ["q", "q#1", "r", "a#0", "b#0", "b#1"]
    assert ranks["group_id"].to_list() == ["a", "b", "b", "a", "b", "b"]
