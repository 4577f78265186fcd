"""Protocols and the identities of their figures, on hand-worked ranks and on the figures of experiment logs."""

import numpy as np
import polars as pl
import pytest

from pipeline_lib.artifacts.schemas import RANKS_SCHEMA
from pipeline_lib.evaluation.bidirectional import bidirectional_statistic, bidirectional_trees
from pipeline_lib.evaluation.protocols import PROTOCOLS
from pipeline_lib.evaluation.summary import retrieval_trees
from pipeline_lib.metrics.gallery_ranks import Gallery, rank_gallery
from pipeline_lib.metrics.ranking import rank_figures
from pipeline_lib.metrics.tied_ranks import untied
from pipeline_lib.metrics.weighted import point

# Logged MUGE figures, R@1, R@5, R@10, MeanRecall over 5,008 queries.
MUGE = [
    (0.0571, 0.1905, 0.2927, 0.1801),
    (0.0587, 0.1979, 0.3071, 0.1879),
    (0.1326, 0.3345, 0.4641, 0.3104),
    (0.1328, 0.3407, 0.4756, 0.3164),
    (0.0333, 0.1308, 0.2131, 0.1257),
]
# Logged caption figures in percent: text R1 R5 R10, image R1 R5 R10, total mR, sum.
CAPTIONS = [
    ((15.00, 33.12, 44.13), (12.58, 36.10, 51.70), 32.10, 192.63),
    ((16.75, 34.50, 45.63), (12.65, 37.18, 53.48), 33.36, 200.18),
    ((15.75, 31.63, 42.75), (11.50, 35.08, 50.45), 31.19, 187.15),
    ((7.22, 19.32, 30.38), (6.64, 21.91, 35.53), 20.17, 121.00),
    ((13.50, 30.75, 41.38), (11.23, 34.00, 49.53), 30.06, 180.38),
    ((13.50, 29.75, 41.50), (9.78, 32.35, 48.08), 29.16, 174.95),
]


def ranks_with(count, *recalls):
    """Ranks of `count` queries with the given R@1, R@5 and R@10."""
    hits = [round(count * share) for share in recalls]
    return untied(np.repeat([1, 5, 10, 11], np.diff([0, *hits, count])))


@pytest.mark.parametrize(("r1", "r5", "r10", "mean"), MUGE)
def test_mean_recall_of_ranks_is_that_of_the_logs(r1, r5, r10, mean):
    figures = rank_figures(ranks_with(5008, r1, r5, r10))
    assert [round(figures[name], 4) for name in ("R@1", "R@5", "R@10")] == [r1, r5, r10]
    assert figures["MeanRecall"] == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize(("text", "image", "total", "sum_of_six"), CAPTIONS)
def test_total_and_sum_are_those_of_the_logs(text, image, total, sum_of_six):
    sides = [ranks_with(10_000, *(value / 100 for value in side)) for side in (image, text)]
    reached = 100 * point(bidirectional_statistic(*sides), 20_000)[2]
    assert reached == pytest.approx(total, abs=0.011)
    assert 6 * reached == pytest.approx(sum_of_six, abs=0.021) == pytest.approx(sum(text) + sum(image), abs=0.021)


def gallery_of(seed=0, num_images=12):
    """Images with 1 to 7 captions each, with enough noise for some misses."""
    rng = np.random.default_rng(seed)
    products = rng.standard_normal((num_images, 6)).astype(np.float32)
    owner = np.repeat(np.arange(num_images), rng.integers(1, 8, num_images))
    queries = products[owner] + rng.standard_normal((len(owner), 6)).astype(np.float32)
    pairs = [(f"q{row}", f"p{image}", 1) for row, image in enumerate(owner)]
    relevance = pl.DataFrame(pairs, schema=["query_id", "product_id", "grade"], orient="row")
    names = [f"p{image}" for image in range(num_images)]
    return Gallery("test", None, [f"q{row}" for row in range(len(owner))], queries, names, products), relevance, owner


def test_five_caption_equals_a_slow_loop_in_both_directions():
    gallery, relevance, owner = gallery_of()
    protocol = PROTOCOLS["five_caption"]
    tree, intervals = protocol.trees(protocol.rank(gallery, relevance), 200, 1)
    scores = gallery.queries @ gallery.products.T
    hits = {"text_to_image": [], "image_to_text": []}
    for query, image in enumerate(owner):
        order = sorted(range(12), key=lambda other: -scores[query, other])
        hits["text_to_image"].append(order.index(image))
    for image in range(12):
        order = sorted(range(len(owner)), key=lambda other: -scores[other, image])
        hits["image_to_text"].append(min(order.index(query) for query in np.flatnonzero(owner == image)))
    retrieval = tree["test"]["retrieval"]
    six = []
    for direction, places in hits.items():
        recalls = [np.mean([place < k for place in places]) for k in (1, 5, 10)]
        assert [retrieval[direction][f"R@{k}"] for k in (1, 5, 10)] == pytest.approx(recalls, abs=1e-6)
        assert retrieval[direction]["mR"] == pytest.approx(np.mean(recalls), abs=1e-6)
        six += recalls
    assert retrieval["total_mR"] == pytest.approx(np.mean(six), abs=1e-6)
    assert retrieval["sum"] == pytest.approx(sum(six), abs=1e-5)
    spans = intervals["test"]["retrieval"]
    for name in ("total_mR", "sum"):
        assert spans[name][0] <= retrieval[name] <= spans[name][1]
    assert spans["sum"] == pytest.approx([6 * end for end in spans["total_mR"]], abs=1e-5)


def test_an_image_is_drawn_with_all_its_captions():
    """Captions of one image hit or miss together, so the interval is that of 20 images, not of 100 captions."""
    rows = [
        ("test", "text_to_image", f"q{i}-{c}", None, 1.0 if i % 2 else 99.0, 99, f"p{i}", 1, 1, 0)
        for i in range(20)
        for c in range(5)
    ]
    rows += [("test", "image_to_text", f"p{i}", None, 1.0 if i % 2 else 99.0, 99, f"p{i}", 1, 1, 0) for i in range(20)]
    ranks = pl.DataFrame(rows, schema=RANKS_SCHEMA, orient="row")
    # 1.96 standard errors of a share of one half over 20 images, not over 100 captions or 120 ranks.
    width = pytest.approx(2 * 1.96 * 0.5 / np.sqrt(20), rel=0.15)
    _, intervals = bidirectional_trees(ranks)
    low, high = intervals["test"]["retrieval"]["total_mR"]
    assert high - low == width
    _, intervals = retrieval_trees(ranks, 2000, 3)
    for direction in ("text_to_image", "image_to_text"):
        low, high = intervals["test"]["retrieval"][direction]["R@1"]
        assert high - low == width


def test_the_statistic_of_ones_is_the_mean_of_the_figures():
    rng = np.random.default_rng(5)
    text, image = untied(rng.integers(1, 20, 30)), untied(rng.integers(1, 20, 7))
    result = point(bidirectional_statistic(text, image), 37)
    means = [rank_figures(ranks)["MeanRecall"] for ranks in (text, image)]
    assert result == pytest.approx([*means, sum(means) / 2])


@pytest.mark.parametrize("name", ["catalogue", "muge"])
def test_catalogue_and_muge_publish_the_plain_tree(name):
    gallery, relevance, _ = gallery_of(2)
    ranks = PROTOCOLS[name].rank(gallery, relevance)
    assert ranks.equals(rank_gallery(gallery, relevance))
    assert PROTOCOLS[name].trees(ranks, 100, 1) == retrieval_trees(ranks, 100, 1)


def test_only_row_paired_warns():
    assert [name for name, protocol in PROTOCOLS.items() if protocol.warning] == ["row_paired"]
    assert "understates R@1 about five times" in PROTOCOLS["row_paired"].warning


def test_a_split_ranked_in_one_direction_has_no_total():
    ranks = pl.DataFrame([("oof", "text_to_image", "q", 0, 1.0, 9, "p", 1, 1, 0)], schema=RANKS_SCHEMA, orient="row")
    assert bidirectional_trees(ranks) == ({}, {})
