"""Corrections of hubness: by hand, against a slow loop over float64 scores, and their purpose: hubs stop winning."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.metrics import composed
from pipeline_lib.metrics.hubness import (
    corrected_ranks,
    dual_softmax,
    first_of_bank,
    inverted_softmax,
    log_sums,
    qb_norm,
)
from pipeline_lib.metrics.recall import best_positive_ranks
from pipeline_lib.metrics.relevance import positions_from_lists


def on_axes(rows):
    """Vectors whose inner products with the axes are `rows`, and the axes."""
    return np.array(rows, np.float32), np.eye(len(rows[0]), dtype=np.float32)


def slow_inverted(scores, bank, temperature):
    """exp(score / t) over the sum of the bank's, one pair at a time."""
    return [
        [math.exp(s / temperature) / sum(math.exp(b[item] / temperature) for b in bank) for item, s in enumerate(row)]
        for row in scores
    ]


def slow_dual(scores, temperature):
    sums = [sum(math.exp(row[item] / temperature) for row in scores) for item in range(len(scores[0]))]
    return [[s * math.exp(s / temperature) / sums[item] for item, s in enumerate(row)] for row in scores]


def slow_qb_norm(scores, bank, temperature, places):
    def first(row):
        return min(range(len(row)), key=lambda item: (-row[item], places[item]))

    best_of_bank = {first(row) for row in bank}
    inverted = slow_inverted(scores, bank, temperature)
    return [inverted[n] if first(row) in best_of_bank else row for n, row in enumerate(scores)]


def slow_rank(scores, right, tolerance=1e-11):
    best = max(scores[item] for item in right)
    slack = tolerance * abs(best)
    wrong = [score for item, score in enumerate(scores) if item not in right]
    higher, equal = sum(s > best + slack for s in wrong), sum(abs(s - best) <= slack for s in wrong)
    return 1 + higher + equal / (1 + sum(abs(scores[item] - best) <= slack for item in right))


def grid(correct, scores):
    rows, items = np.indices(np.shape(scores))
    return correct(np.array(scores, float), rows, items)


# Product 0 is the hub: it is the best of every query of the bank, and of the queries for 1.
BANK = [[0.9, 0.1, 0.2], [0.8, 0.3, 0.1], [0.9, 0.2, 0.1]]
QUERIES = [[0.9, 0.1, 0.0], [0.7, 0.6, 0.1], [0.1, 0.2, 0.8]]


def test_hand_worked_inverted_softmax():
    bank, gallery = on_axes([[math.log(2), 0.0], [math.log(4), math.log(3)]])
    sums = log_sums([bank], gallery, 1.0)
    assert np.exp(sums) == pytest.approx([2 + 4, 1 + 3], abs=1e-6)
    # Scores log 3 and log 2.5: 3/6 against 2.5/4, so the second wins.
    corrected = np.exp(grid(inverted_softmax(sums, 1.0), [[math.log(3), math.log(2.5)]]))
    assert corrected[0] == pytest.approx([3 / 6, 2.5 / 4], abs=1e-6)
    queries = np.array([[math.log(3), math.log(2.5)]], np.float32)
    right = positions_from_lists([[1]])
    assert best_positive_ranks(queries, gallery, right).expected().tolist() == [2]
    assert corrected_ranks(queries, gallery, right, inverted_softmax(sums, 1.0)).expected().tolist() == [1]


def test_hand_worked_dual_softmax():
    """Two queries and two products: the second query, nearer to product 0, takes it from the first."""
    queries, gallery = on_axes([[math.log(3), math.log(2)], [math.log(9), math.log(2)]])
    sums = log_sums([queries], gallery, 1.0)
    corrected = grid(dual_softmax(sums, 1.0), queries.astype(float))
    expected = [
        [math.log(3) * 3 / 12, math.log(2) * 2 / 4],
        [math.log(9) * 9 / 12, math.log(2) * 2 / 4],
    ]
    assert corrected.tolist() == [pytest.approx(row, abs=1e-6) for row in expected]
    right = positions_from_lists([[1], [0]])
    assert best_positive_ranks(queries, gallery, right).expected().tolist() == [2, 1]
    assert corrected_ranks(queries, gallery, right, dual_softmax(sums, 1.0)).expected().tolist() == [1, 1]


def test_hand_worked_qb_norm():
    """Only queries whose best product is that of a query of the bank are corrected: 0 and 1, not 2."""
    bank, gallery = on_axes(BANK)
    assert first_of_bank([bank], gallery, np.arange(3)).tolist() == [True, False, False]
    corrected = np.array([True, True, False])
    sums = log_sums([bank[:1], bank[1:]], gallery, 0.1)
    own = grid(qb_norm(sums, 0.1, corrected), QUERIES)
    assert own[2].tolist() == QUERIES[2]
    # log of e^9 + e^8 + e^9, and of e + e^3 + e^2: times .1 they leave .9 and .7 about as far behind .1 and .6.
    norm = [0.1 * math.log(sum(math.exp(10 * row[item]) for row in BANK)) for item in range(3)]
    assert own[1] == pytest.approx([0.7 - norm[0], 0.6 - norm[1], 0.1 - norm[2]], abs=1e-6)
    queries = np.array(QUERIES, np.float32)
    right = positions_from_lists([[0], [1], [2]])
    assert best_positive_ranks(queries, gallery, right).expected().tolist() == [1, 2, 1]
    assert corrected_ranks(queries, gallery, right, qb_norm(sums, 0.1, corrected)).expected().tolist() == [1, 1, 1]


@st.composite
def cases(draw):
    """Scores of few levels, so that ties occur, with the gallery on the axes.

    None is 0: a product of 0 and a softmax is as small as rounding, and every softmax near 0 would tie with it.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_queries, num_items, size = (int(draw(st.integers(1, most))) for most in (6, 5, 7))
    spread = draw(st.sampled_from([2, 50]))
    scores = (rng.integers(-spread, spread, (num_queries, num_items)) + 0.5) / 64
    bank = rng.integers(-spread, spread + 1, (size, num_items)) / 64
    if draw(st.booleans()) and num_items > 1:  # two equal products
        scores[:, 1], bank[:, 1] = scores[:, 0], bank[:, 0]
    positives = [rng.choice(num_items, rng.integers(1, num_items + 1), replace=False) for _ in scores]
    return scores.astype(np.float32), bank.astype(np.float32), positives, draw(st.sampled_from([0.01, 0.05, 1.0]))


@given(cases())
@settings(max_examples=80)
def test_equals_a_slow_loop(case):
    scores, bank, positives, temperature = case
    gallery, places = np.eye(scores.shape[1], dtype=np.float32), np.arange(scores.shape[1])[::-1].copy()
    table, banked = scores.astype(float).tolist(), bank.astype(float).tolist()
    sums = log_sums([bank], gallery, temperature)
    best_of_bank = first_of_bank([bank], gallery, places)
    first = [min(range(len(row)), key=lambda item: (-row[item], places[item])) for row in table]
    over_queries = log_sums([scores], gallery, temperature)
    expected = {
        "inverted": slow_inverted(table, banked, temperature),
        "dual": slow_dual(table, temperature),
        "qb_norm": slow_qb_norm(table, banked, temperature, places),
    }
    corrections = {
        "inverted": inverted_softmax(sums, temperature),
        "dual": dual_softmax(over_queries, temperature),
        "qb_norm": qb_norm(sums, temperature, best_of_bank[first]),
    }
    inverted = np.exp(grid(corrections["inverted"], table) / temperature)
    assert inverted == pytest.approx(np.array(expected["inverted"]), rel=1e-9)
    assert grid(corrections["dual"], table) == pytest.approx(np.array(expected["dual"]), rel=1e-9, abs=1e-300)
    for name, correct in corrections.items():
        ranks = corrected_ranks(scores, gallery, positions_from_lists(positives), correct).expected()
        slow = [slow_rank(row, set(own.tolist())) for row, own in zip(expected[name], positives, strict=True)]
        assert ranks == pytest.approx(slow, abs=1e-9), name


def drawn(seed=0, num_queries=40, num_items=30, dim=16):
    """Unit vectors: each query near its product, and all of them near product 0, the hub."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=dim)
    gallery = rng.normal(size=(num_items, dim)) + 0.3 * common
    gallery[0] = common
    owner = np.arange(num_queries + 100) % (num_items - 1) + 1
    queries = gallery[owner] + 1.2 * common + 0.4 * rng.normal(size=(len(owner), dim))
    gallery, queries = (
        (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32) for rows in (gallery, queries)
    )
    return (
        queries[:num_queries],
        queries[num_queries:],
        gallery,
        positions_from_lists([[one] for one in owner[:num_queries]]),
    )


def test_a_hub_stops_winning():
    """Product 0 answers no query and is the first of most; after each correction it is the first of almost none."""
    queries, bank, gallery, right = drawn()
    places = np.arange(len(gallery))
    sums, over_queries = log_sums([bank], gallery, 0.05), log_sums([queries], gallery, 0.05)
    best = first_of_bank([bank], gallery, places)
    scores = queries.astype(float) @ gallery.T.astype(float)
    assert (scores.argmax(axis=1) == 0).mean() > 0.6 and best[0]
    plain = best_positive_ranks(queries, gallery, right)
    for correct in (
        inverted_softmax(sums, 0.05),
        qb_norm(sums, 0.05, best[scores.argmax(axis=1)]),
        dual_softmax(over_queries, 0.05),
    ):
        assert (grid(correct, scores).argmax(axis=1) == 0).mean() < 0.1
        ranks = corrected_ranks(queries, gallery, right, correct)
        assert ranks.hits(1).mean() > plain.hits(1).mean() + 0.3


def test_neither_chunks_nor_blocks_matter(monkeypatch):
    queries, bank, gallery, right = drawn(1)
    correct = inverted_softmax(log_sums([bank], gallery, 0.05), 0.05)
    ranks = corrected_ranks(queries, gallery, right, correct)
    monkeypatch.setattr(composed, "ROWS_BYTES", 8 * len(gallery) * 7)
    sums = log_sums([bank[:33], bank[33:34], bank[34:]], gallery, 0.05)
    again = corrected_ranks(queries, gallery, right, inverted_softmax(sums, 0.05))
    assert all(np.array_equal(getattr(ranks, name), getattr(again, name)) for name in ("higher", "right", "wrong"))


@pytest.mark.parametrize("temperature", [0.005, 0.05, 1.0])
def test_equal_products_tie_whatever_their_place(temperature):
    """Rounding at the edge of a product of matrices must not order equal vectors."""
    queries, bank, gallery, _ = drawn(2)
    gallery = np.repeat(gallery[:1], 29, axis=0)
    right = positions_from_lists([[number % 29] for number in range(len(queries))])
    for correct in (
        inverted_softmax(log_sums([bank], gallery, temperature), temperature),
        dual_softmax(log_sums([queries], gallery, temperature), temperature),
        dual_softmax(log_sums([-queries], gallery, temperature), temperature),
    ):
        ranks = corrected_ranks(queries, gallery, right, correct)
        assert set(ranks.expected().tolist()) == {1 + 28 / 2}


def test_a_bank_that_is_alike_for_all_products_changes_nothing():
    """Property: with the same sum for each product, an inverted softmax keeps the order."""
    queries, _, gallery, right = drawn(3)
    flat = np.full(len(gallery), 2.5)
    own = corrected_ranks(queries, gallery, right, inverted_softmax(flat, 0.05))
    assert own.expected().tolist() == best_positive_ranks(queries, gallery, right).expected().tolist()


def test_scores_far_apart_do_not_overflow():
    """A temperature of .001 makes e^1000: the log sums stay finite."""
    bank, gallery = on_axes([[1.0, -1.0], [0.5, -1.0]])
    assert log_sums([bank], gallery, 0.001) == pytest.approx([1000, -1000 + math.log(2)], abs=1e-9)


def test_an_empty_bank_is_an_error():
    with pytest.raises(ValueError, match="the bank has no query"):
        log_sums([np.zeros((0, 2), np.float32)], np.eye(2, dtype=np.float32), 0.05)


def test_several_right_answers_and_ties_among_them():
    scores, gallery = on_axes([[0.5, 0.5, 0.5, 0.2]])
    for places in itertools.combinations(range(3), 2):
        ranks = corrected_ranks(scores, gallery, positions_from_lists([list(places)]), lambda s, _, items: s)
        assert [getattr(ranks, name).tolist() for name in ("higher", "right", "wrong")] == [[0], [2], [1]]
