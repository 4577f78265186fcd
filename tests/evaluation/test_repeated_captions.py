"""Clips with several captions, of which some are another clip's too: every figure of both directions, by hand."""

import itertools
from fractions import Fraction

import numpy as np
import polars as pl
import pytest

from pipeline_lib.evaluation.protocols import PROTOCOLS
from pipeline_lib.metrics.gallery_ranks import Gallery
from pipeline_lib.metrics.ranking import RANK_FIGURES

CLIPS = ("a", "b", "c", "d")
# The score of each distinct caption with each clip.
SCORES = {
    "a man talks": (4, 4, 1, 0),
    "a red ball rolls": (3, 1, 2, 0),
    "a ball": (1, 2, 4, 3),
    "nothing moves": (0, 0, 0, 0),
}
# Captions in the order of their ids; two clips have "a man talks", and c has it twice.
CAPTIONS = (
    ("a", "a man talks"), ("a", "a red ball rolls"), ("b", "a man talks"), ("c", "a ball"), ("c", "a man talks"),
    ("c", "a man talks"), ("d", "nothing moves"),
)  # fmt: skip


def gallery():
    """The clips are the axes, so that a caption's vector is its row of scores."""
    ids = [f"q{number}" for number in range(len(CAPTIONS))]
    queries = np.array([SCORES[text] for _, text in CAPTIONS], np.float32)
    pairs = [(query, clip, 1) for query, (clip, _) in zip(ids, CAPTIONS, strict=True)]
    relevance = pl.DataFrame(pairs, schema=["query_id", "product_id", "grade"], orient="row")
    return Gallery("test", None, ids, queries, list(CLIPS), np.eye(4, dtype=np.float32)), relevance


def trees(protocol="catalogue"):
    chosen = PROTOCOLS[protocol]
    ranks = chosen.rank(*gallery())
    return ranks, chosen.trees(ranks, 100, 1)[0]["test"]["retrieval"]


def orders(scores):
    """Every order of the items that agrees with the scores."""
    return [
        order
        for order in itertools.permutations(range(len(scores)))
        if all(scores[left] >= scores[right] for left, right in itertools.pairwise(order))
    ]


def all_ranks(scores, right):
    """The rank of the first right item in every order."""
    return [min(order.index(item) for item in right) + 1 for order in orders(scores)]


def test_hand_worked_ranks_of_both_directions():
    ranks, _ = trees()
    assert dict(ranks.filter(direction="text_to_image").select("query_id", "rank").iter_rows()) == {
        "q0": 1.5,  # a and b tie for the first place
        "q1": 1.0,
        "q2": 1.5,
        "q3": 1.0,
        "q4": 3.0,  # c is behind a and b
        "q5": 3.0,
        "q6": 2.5,  # all four clips tie
    }
    assert dict(ranks.filter(direction="image_to_text").select("query_id", "rank").iter_rows()) == {
        "a": pytest.approx(1 + 3 / 2),  # "a man talks" four times at 4: one right, three wrong
        "b": pytest.approx(1 + 3 / 2),
        "c": 1.0,  # "a ball" at 4
        "d": pytest.approx(2 + 5 / 2),  # "a ball" at 3, then six captions at 0, one of them right
    }


def test_hand_worked_figures_of_both_directions():
    _, figures = trees()
    text = figures["text_to_image"]
    # Hits at 1: 1/2, 1, 1/2, 1, 0, 0, 1/4. Ranks 1: 3.25 of 7; up to 2: half of q6; the fourth of 7 is at 2.
    assert text["R@1"] == pytest.approx(3.25 / 7, abs=1e-6)
    assert text["R@5"] == text["R@10"] == 1
    assert text["mean_rank"] == pytest.approx((1.5 + 1 + 1.5 + 1 + 3 + 3 + 2.5) / 7, abs=1e-6)
    assert text["median_rank"] == 2
    image = figures["image_to_text"]
    assert image["R@1"] == pytest.approx((1 / 4 + 1 / 4 + 1 + 0) / 4, abs=1e-6)
    assert image["R@5"] == pytest.approx((1 + 1 + 1 + 4 / 6) / 4, abs=1e-6)
    assert image["mean_rank"] == pytest.approx((2.5 + 2.5 + 1 + 4.5) / 4, abs=1e-6)
    # Of four, 1.5 have a hit at 1 and 1 + 2 x 2/4 + 1/6 have one at 2: half of them are reached there and exceeded.
    assert image["median_rank"] == 2
    assert (text["num_queries"], text["num_gallery"]) == (7, 4)
    assert (image["num_queries"], image["num_gallery"]) == (4, 7)


@pytest.mark.parametrize("protocol", ["catalogue", "muge", "five_caption"])
def test_each_figure_is_that_of_all_orders_of_the_ties(protocol):
    """A slow loop over permutations; `sorted == diagonal` would count q0 or q2 as wrong, whichever comes second."""
    _, figures = trees(protocol)
    table = np.array([SCORES[text] for _, text in CAPTIONS])
    sides = {
        "text_to_image": [(row, [CLIPS.index(clip)]) for row, (clip, _) in zip(table, CAPTIONS, strict=True)],
        "image_to_text": [
            (table[:, place], [number for number, (owner, _) in enumerate(CAPTIONS) if owner == clip])
            for place, clip in enumerate(CLIPS)
        ],
    }
    for direction, units in sides.items():
        found = [all_ranks(scores.tolist(), right) for scores, right in units]
        for k in (1, 5, 10):
            hits = [Fraction(sum(rank <= k for rank in own), len(own)) for own in found]
            assert figures[direction][f"R@{k}"] == pytest.approx(float(sum(hits) / len(hits)), abs=1e-6)
        means = [Fraction(sum(own), len(own)) for own in found]
        assert figures[direction]["mean_rank"] == pytest.approx(float(sum(means) / len(means)), abs=1e-6)
        assert set(RANK_FIGURES) <= figures[direction].keys()


def test_a_collapsed_model_has_the_figures_of_chance_in_both_directions():
    """With one vector for all, an argsort gives one direction R@1 of 100 % or 0 %, by the order of the table."""
    own, relevance = gallery()
    flat = Gallery("test", None, own.query_ids, np.ones((7, 4), np.float32), own.product_ids, np.ones((4, 4)) / 2)
    figures = PROTOCOLS["catalogue"].trees(PROTOCOLS["catalogue"].rank(flat, relevance), 100, 1)[0]["test"]["retrieval"]
    for one in figures.values():
        assert {name: one[name] for name in ("R@1", "R@5", "R@10")} == one["chance"]
    assert figures["text_to_image"]["mean_rank"] == 2.5  # (4 + 1) / 2
    # (7 + 1) / (m + 1) for clips with 2, 1, 3 and 1 captions.
    assert figures["image_to_text"]["mean_rank"] == pytest.approx((8 / 3 + 4 + 2 + 4) / 4, abs=1e-6)
