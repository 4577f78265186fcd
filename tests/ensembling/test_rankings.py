"""The top products of each query equal a stable sort."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.artifacts.schemas import RANKINGS_SCHEMA
from pipeline_lib.ensembling.rankings import rankings_table, top_positions


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 5))
@settings(max_examples=60)
def test_equals_a_stable_sort_whatever_the_chunk(seed, depth, chunk):
    rng = np.random.default_rng(seed)
    queries = rng.integers(-2, 3, (4, 3)).astype(np.float32)
    gallery = rng.integers(-2, 3, (9, 3)).astype(np.float32)
    positions, scores = top_positions(queries, gallery, depth, chunk=chunk)
    exact = queries @ gallery.T
    assert positions.tolist() == np.argsort(-exact, axis=1, kind="stable")[:, :depth].tolist()
    assert np.array_equal(scores, np.take_along_axis(exact, positions, axis=1))


def test_a_depth_above_the_gallery_size_ranks_the_full_gallery():
    positions, _ = top_positions(np.ones((1, 1), np.float32), np.array([[1], [3], [2]], np.float32), 50)
    assert positions.tolist() == [[1, 2, 0]]


def test_the_table_ranks_from_one():
    top = (np.array([[1, 0], [0, 1]]), np.array([[0.9, 0.5], [0.8, 0.1]], np.float32))
    table = rankings_table("oof", 3, ["q", "r"], ["a", "b"], top)
    assert table.schema == RANKINGS_SCHEMA
    assert table.drop("score").rows() == [
        ("q", "oof", 3, 1, "b"),
        ("q", "oof", 3, 2, "a"),
        ("r", "oof", 3, 1, "a"),
        ("r", "oof", 3, 2, "b"),
    ]
    assert table["score"].to_list() == pytest.approx([0.9, 0.5, 0.8, 0.1])


def test_no_query_gives_an_empty_table():
    top = top_positions(np.zeros((0, 2), np.float32), np.ones((3, 2), np.float32), 2)
    table = rankings_table("test", None, [], ["a", "b", "c"], top)
    assert table.height == 0
    assert table.schema == RANKINGS_SCHEMA
