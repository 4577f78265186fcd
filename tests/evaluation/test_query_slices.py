"""Figures of the slices of text queries."""

import numpy as np
import polars as pl
import pytest

from pipeline_lib.artifacts.schemas import RANKS_SCHEMA
from pipeline_lib.catalogue.schema import QUERY_SLICES
from pipeline_lib.evaluation.composed_protocols import MIN_SLICE
from pipeline_lib.evaluation.protocols import PROTOCOLS
from pipeline_lib.evaluation.query_slices import FIGURES, query_slice_trees
from pipeline_lib.evaluation.summary import retrieval_trees

NUM_QUERIES, GALLERY = 40, 50


def ranks_table(seed=1):
    """Text to image with four queries of a clip, and image to text whose ids are those of queries by chance."""
    rng = np.random.default_rng(seed)
    places = rng.integers(1, 15, NUM_QUERIES).astype(float)
    text = [
        ("test", "text_to_image", f"q{i}", None, rank, GALLERY, f"g{i // 4}", 1, 1, 0) for i, rank in enumerate(places)
    ]
    image = [("test", "image_to_text", f"q{i}", None, 1.0, GALLERY, f"g{i}", 1, 1, 0) for i in range(NUM_QUERIES)]
    return pl.DataFrame([*text, *image], schema=RANKS_SCHEMA, orient="row"), places


def slices_table(named):
    rows = [(f"q{i}", name) for name, chosen in named.items() for i in chosen]
    return pl.DataFrame(rows, schema=QUERY_SLICES, orient="row")


def test_the_figures_of_a_slice_are_those_of_a_slow_loop_over_its_queries():
    ranks, places = ranks_table()
    named = {"time": range(0, 40, 2), "still": range(1, 40, 2), "en": range(25)}
    figures, intervals = query_slice_trees(ranks, slices_table(named))
    assert list(figures) == ["test"] and list(figures["test"]["retrieval"]) == ["text_to_image"]
    found = figures["test"]["retrieval"]["text_to_image"]
    assert found["slices_left_out"] == 0 and list(found["slices"]) == sorted(named)
    for name, chosen in named.items():
        own, spans = found["slices"][name], intervals["test"]["retrieval"]["text_to_image"]["slices"][name]
        for k in (1, 5, 10):
            assert own[f"R@{k}"] == pytest.approx(np.mean([places[i] <= k for i in chosen]), abs=1e-6)
            assert own["chance"][f"R@{k}"] == pytest.approx(k / GALLERY)
            assert spans[f"R@{k}"][0] <= own[f"R@{k}"] <= spans[f"R@{k}"][1]
        assert (own["num_queries"], own["num_gallery"]) == (len(chosen), GALLERY)
        assert set(spans) == set(FIGURES)


def test_a_slice_of_all_queries_has_the_figures_and_intervals_of_the_direction():
    ranks, _ = ranks_table(2)
    figures, intervals = query_slice_trees(ranks, slices_table({"all": range(NUM_QUERIES)}))
    whole, spans = (tree["test"]["retrieval"]["text_to_image"] for tree in retrieval_trees(ranks, 100, 1))
    own = figures["test"]["retrieval"]["text_to_image"]["slices"]["all"]
    assert own == {key: whole[key] for key in own}
    # Captions of a clip count as one in both.
    assert intervals["test"]["retrieval"]["text_to_image"]["slices"]["all"] == {key: spans[key] for key in FIGURES}


def test_a_small_slice_is_counted_and_not_published():
    ranks, _ = ranks_table()
    named = {"large": range(MIN_SLICE), "small": range(MIN_SLICE - 1), "unknown": range(100, 200)}
    figures, intervals = query_slice_trees(ranks, slices_table(named))
    found = figures["test"]["retrieval"]["text_to_image"]
    assert list(found["slices"]) == ["large"] and found["slices_left_out"] == 1
    assert list(intervals["test"]["retrieval"]["text_to_image"]["slices"]) == ["large"]


@pytest.mark.parametrize("name", ["catalogue", "five_caption"])
def test_the_trees_of_a_protocol_have_the_slices_beside_the_figures(name):
    ranks, _ = ranks_table()
    plain = PROTOCOLS[name].trees(ranks, 100, 1)
    sliced = PROTOCOLS[name].trees(ranks, 100, 1, slices_table({"time": range(20)}))
    for without, with_slices in zip(plain, sliced, strict=True):
        own = with_slices["test"]["retrieval"]["text_to_image"]
        assert list(own.pop("slices")) == ["time"] and own.pop("slices_left_out", 0) == 0
        assert with_slices == without
    assert PROTOCOLS[name].trees(ranks, 100, 1, pl.DataFrame(schema=QUERY_SLICES)) == plain


def test_a_protocol_that_ranks_pairs_of_rows_has_no_slices():
    """Its rows are pairs of a query and one answer; a slice would count the first answer of each query alone."""
    ranks, _ = ranks_table()
    slices = slices_table({"time": range(NUM_QUERIES)})
    for name, has_slices in (("catalogue", True), ("row_paired", False)):
        figures, _ = PROTOCOLS[name].trees(ranks, 100, 0, slices)
        assert ("slices" in figures["test"]["retrieval"]["text_to_image"]) is has_slices
