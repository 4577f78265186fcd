"""A filtered search equals scoring all products, for every kind of index, and always has k products if k pass."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.params.index import IndexParams
from pipeline_lib.params.section import load_params, parse_section
from pipeline_lib.retrieval import filtered_search
from pipeline_lib.retrieval.faiss_index import Fingerprints, build_index
from pipeline_lib.retrieval.filtered_search import ALL, Selection, search_selected
from pipeline_lib.retrieval.search import ProductIndex, open_index

SOURCE = Fingerprints("model", "32px")
COUNT, DIM = 300, 8


@pytest.fixture(scope="module")
def indexes(tmp_path_factory):
    """An exact and two approximate indexes of the same vectors, of which several are equal."""
    rows = np.random.default_rng(0).standard_normal((COUNT, DIM)).astype(np.float32)
    rows[20:40] = rows[0]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    ids = [f"p{number * 7 % COUNT:03d}" for number in range(COUNT)]
    params = parse_section(IndexParams, load_params(Path(__file__).parents[2] / "params.yaml"))
    params = params.model_copy(update={"lists": 7, "probes": 1, "links": 4, "build_beam": 8, "search_beam": 8})
    made = {}
    for kind in ("flat", "ivf", "hnsw"):
        folder = tmp_path_factory.mktemp(kind)
        build_index(folder, kind, ids, rows, SOURCE, params)
        made[kind] = open_index(folder, SOURCE)
    return made, rows, {key: row for row, key in enumerate(ids)}


def slow(rows, row_of, query, k, selection):
    scores = {key: float(np.float32(rows[row].astype(float) @ query.astype(float))) for key, row in row_of.items()}
    found, groups = [], set()
    for key in sorted(scores, key=lambda key: (-scores[key], key)):
        row = row_of[key]
        group = row if selection.groups is None else int(selection.groups[row])
        if selection.allowed is not None and not selection.allowed[row]:
            continue
        if scores[key] < (-np.inf if selection.min_score is None else selection.min_score) or group in groups:
            continue
        groups.add(group)
        found.append((key, pytest.approx(scores[key], abs=1e-6)))
    return found[:k]


selections = st.builds(
    lambda seed, share, lowest, grouped: Selection(
        None if share is None else np.random.default_rng(seed).random(COUNT) < share,
        lowest,
        np.random.default_rng(seed).integers(0, 60, COUNT) if grouped else None,
    ),
    st.integers(0, 99),
    st.sampled_from([None, 0.0, 0.02, 0.5, 0.98]),
    st.sampled_from([None, -0.2, 0.3]),
    st.booleans(),
)


@given(
    selection=selections,
    seed=st.integers(0, 99),
    k=st.sampled_from([1, 5, 40, 400]),
    few=st.sampled_from([0, 4_096]),
    most=st.sampled_from([0, 64, 16_384]),
)
@settings(max_examples=40)
def test_an_exact_index_gives_what_a_slow_loop_gives(indexes, selection, seed, k, few, most):
    made, rows, row_of = indexes
    queries = np.random.default_rng(seed).standard_normal((2, DIM)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:  # all ways: scoring all at once, widening, and scoring all after it
        patch.setattr(filtered_search, "FEW", few)
        patch.setattr(filtered_search, "MOST", most)
        found = search_selected(made["flat"], queries, k, selection)
    for query, hits in zip(queries, found, strict=True):
        assert [tuple(hit)[:2] for hit in hits] == slow(rows, row_of, query, k, selection)
        assert [hit.row for hit in hits] == [row_of[hit.product_id] for hit in hits]


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
@pytest.mark.parametrize("few", [0, 4_096])
def test_an_approximate_index_still_has_k_products_of_a_filter(kind, few, indexes, monkeypatch):
    """One of seven lists is probed, so most products that pass are never returned by the index itself."""
    made, _, row_of = indexes
    monkeypatch.setattr(filtered_search, "FEW", few)
    allowed = np.zeros(COUNT, bool)
    allowed[100:150] = True
    query = np.random.default_rng(1).standard_normal((1, DIM)).astype(np.float32)
    hits = search_selected(made[kind], query, 50, Selection(allowed))[0]
    assert sorted(row_of[hit.product_id] for hit in hits) == list(range(100, 150))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_an_approximate_index_still_has_k_products_if_duplicates_are_hidden(kind, indexes):
    """Every third product is a thing of its own, so 100 things are to be found; the index itself returns fewer."""
    made, _, _ = indexes
    query = np.random.default_rng(1).standard_normal((1, DIM)).astype(np.float32)
    assert len(made[kind].search(query, COUNT)[0]) < COUNT
    for lowest in (None, -1.0):
        (hits,) = search_selected(made[kind], query, 100, Selection(None, lowest, np.arange(COUNT) // 3))
        assert sorted({hit.row // 3 for hit in hits}) == list(range(100))


def test_a_filter_that_the_best_products_do_not_pass_fetches_no_more_than_a_limit(indexes, monkeypatch):
    """Of millions of products, half of which pass but none of the best, a search would return the other half."""
    made, rows, row_of = indexes
    monkeypatch.setattr(filtered_search, "FEW", 10)
    monkeypatch.setattr(filtered_search, "MOST", 40)
    query = np.random.default_rng(1).standard_normal((1, DIM)).astype(np.float32)
    fetched, search = [], ProductIndex.search
    monkeypatch.setattr(ProductIndex, "search", lambda *call: fetched.append(call[2]) or search(*call))
    allowed = (scores := rows @ query[0]) < np.median(scores)
    (hits,) = search_selected(made["flat"], query, 5, Selection(allowed))
    assert fetched == [5, 20]
    assert [tuple(hit)[:2] for hit in hits] == slow(rows, row_of, query[0], 5, Selection(allowed))


def test_a_filter_after_the_search_would_lose_products(indexes):
    """The top 10 of all, then filtered, has fewer: what this module is for."""
    made, _, row_of = indexes
    allowed = np.zeros(COUNT, bool)
    allowed[200:220] = True
    query = np.random.default_rng(2).standard_normal((1, DIM)).astype(np.float32)
    top = made["flat"].search(query, 10)[0]
    assert sum(allowed[row_of[hit.product_id]] for hit in top) < 10
    assert len(search_selected(made["flat"], query, 10, Selection(allowed))[0]) == 10


def test_no_selection_is_the_plain_search(indexes):
    made, _, _ = indexes
    query = np.random.default_rng(3).standard_normal((3, DIM)).astype(np.float32)
    assert search_selected(made["flat"], query, 7, ALL) == made["flat"].search(query, 7)
