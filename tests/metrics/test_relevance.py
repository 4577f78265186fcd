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
def test_flipping_twice_gives_the_same_rows(rows):
    given_rows = positions_from_lists(rows)
    back = given_rows.flipped(10).flipped(len(rows))
    assert np.array_equal(back.indptr, given_rows.indptr)
    assert np.array_equal(back.indices, given_rows.indices)


def test_flipped_lists_the_queries_of_each_position():
    flipped = positions_from_lists([[0, 2], [2], []]).flipped(3)
    assert [flipped.row(position).tolist() for position in range(3)] == [[0], [], [0, 1]]


def test_take_keeps_the_order_asked_for():
    taken = positions_from_lists([[0], [1, 2], []]).take(np.array([2, 1]))
    assert [taken.row(query).tolist() for query in range(2)] == [[], [1, 2]]
