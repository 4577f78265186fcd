"""Compressed rows of gallery positions: from pairs, from lists, transposed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.metrics.relevance import positions_from_lists, positions_from_pairs

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=8)


@given(ROWS)
def test_pairs_and_lists_agree_and_repeats_count_once(rows):
    pairs = [(query, position) for query, row in enumerate(rows) for position in row]
    queries, gallery = zip(*pairs, strict=True) if pairs else ((), ())
    by_pairs = positions_from_pairs(queries, gallery, len(rows))
    by_lists = positions_from_lists(rows)
    assert len(by_pairs) == len(by_lists) == len(rows)
    for query, row in enumerate(rows):
        assert by_pairs.row(query).tolist() == by_lists.row(query).tolist() == sorted(set(row))
    assert by_pairs.counts().tolist() == [len(set(row)) for row in rows]


@given(ROWS)
def test_transposing_twice_gives_the_same_rows(rows):
    positions = positions_from_lists(rows)
    twice = positions.transposed(10).transposed(len(rows))
    assert np.array_equal(twice.indptr, positions.indptr)
    assert np.array_equal(twice.indices, positions.indices)


def test_transposed_lists_the_queries_of_each_position():
    transposed = positions_from_lists([[0, 2], [2], []]).transposed(3)
    assert [transposed.row(position).tolist() for position in range(3)] == [[0], [], [0, 1]]


@given(st.lists(st.tuples(*[st.lists(st.integers(0, 5), max_size=5)] * 2), min_size=1, max_size=6))
def test_rows_combine_as_sets(rows):
    one, other = (positions_from_lists([row[side] for row in rows]) for side in (0, 1))
    for query, (left, right) in enumerate(rows):
        assert one.without(other).row(query).tolist() == sorted(set(left) - set(right))
        assert one.within(other).row(query).tolist() == sorted(set(left) & set(right))
        assert one.joined(other).row(query).tolist() == sorted(set(left) | set(right))
