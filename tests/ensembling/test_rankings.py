"""The table of the top products of each query."""

import numpy as np
import pytest

from pipeline_lib.artifacts.schemas import RANKINGS_SCHEMA
from pipeline_lib.ensembling.rankings import rankings_table
from pipeline_lib.metrics.top_k import top_k


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
    top = top_k(np.zeros((0, 2), np.float32), np.ones((3, 2), np.float32), 2, np.arange(3))
    table = rankings_table("test", None, [], ["a", "b", "c"], top)
    assert table.height == 0
    assert table.schema == RANKINGS_SCHEMA
