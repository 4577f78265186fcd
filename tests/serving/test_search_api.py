"""Search over HTTP equals a slow loop over all products, whatever is asked for."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest
from served_project import text_vector

from pipeline_lib.artifacts import paths
from pipeline_lib.models.saved import load_model
from pipeline_lib.transforms.tokenize import TextTokenizer


@pytest.fixture(scope="module")
def table(served_root):
    """The products of the index with their vectors, texts, labels, groups and prices."""
    catalogue = served_root / paths.CATALOGUE
    products = pl.read_parquet(catalogue / "products.parquet")
    return products.join(pl.read_parquet(catalogue / "attributes.parquet"), on="product_id").to_dicts()


@pytest.fixture(scope="module")
def vectors(service):
    index = service.opened[0].model.index
    rows = index.index.reconstruct_n(0, len(index.product_ids))
    return dict(zip(index.product_ids, rows, strict=True))


@pytest.fixture(scope="module")
def model(served_root):
    return load_model(served_root / paths.train_of(0)).model


def slow_search(query, table, vectors, k, categories=(), low=-np.inf, high=np.inf, lowest=-np.inf, dedupe=False):
    """Score every product, then drop what does not pass, one after another."""
    exact = {key: np.dot(vector.astype(float), query.astype(float)) for key, vector in vectors.items()}
    scored = [(float(np.float32(exact[row["product_id"]])), row) for row in table]
    scored.sort(key=lambda pair: (-pair[0], pair[1]["product_id"]))
    found, groups = [], set()
    for score, row in scored:
        price = row["price"]
        bounded = low > -np.inf or high < np.inf
        if (categories and row["label"] not in categories) or score < lowest:
            continue
        if bounded and (price is None or not low <= price <= high):
            continue
        if dedupe and row["group_id"] in groups:
            continue
        groups.add(row["group_id"])
        found.append((row["product_id"], score))
    return found[:k]


def ids_of(response):
    assert response.status_code == 200, response.text
    return [row["product_id"] for row in response.json()["results"]]


CASES = [
    {},
    {"k": 36},
    {"k": 200},
    {"category": ["mug"]},
    {"category": ["hat"], "k": 200},
    {"range": ["price:10:40"]},
    {"range": ["price::12.5"], "category": ["mug", "hat"]},
    {"hide_duplicates": True, "k": 200},
    {"hide_duplicates": True, "category": ["mug"], "k": 5},
    {"min_score": 0.1, "k": 200},
    {"range": ["price:80:"], "category": ["hat"], "k": 3, "min_score": -0.5, "hide_duplicates": True},
]


@pytest.mark.parametrize("asked", CASES, ids=str)
@pytest.mark.parametrize("text", ["red mug", "蓝帽"])
def test_a_text_search_equals_a_slow_loop(text, asked, call, table, vectors, model, served_root):
    query = text_vector(served_root, model, 0, text)
    low, high = -np.inf, np.inf
    for one in asked.get("range", []):
        _, first, last = one.split(":")
        low, high = float(first or "-inf"), float(last or "inf")
    expected = slow_search(
        query, table, vectors, asked.get("k", 24), asked.get("category", ()), low, high,
        asked.get("min_score", -np.inf), asked.get("hide_duplicates", False),
    )  # fmt: skip
    response = call("GET", "/api/search", params={"q": text, **asked})
    assert ids_of(response) == [key for key, _ in expected]
    scores = [row["score"] for row in response.json()["results"]]
    assert scores == pytest.approx([score for _, score in expected], abs=2e-6)
    assert response.json()["searched"] == 36


def test_a_text_that_the_model_cuts_is_answered_with_the_number_of_tokens_that_it_read(call, model):
    longest = model.description["text"]["max_tokens"]
    words = "red mug " * longest
    for asked in ({"q": words}, {"q": words, "like": "p2"}):
        assert call("GET", "/api/search", params=asked).json()["cut_at"] == longest
    for asked in ({"q": "red mug"}, {"q": "red mug", "like": "p2"}, {"like": "p2"}):
        assert call("GET", "/api/search", params=asked).json()["cut_at"] is None


def test_one_thread_at_a_time_reads_with_a_tokenizer(service, monkeypatch):
    """Its length is a state of it: a query that is counted beside one that is embedded would change what that reads."""
    texts, reading, together = service.opened[0].model.texts, [], []
    tokenizer = texts._tokenizer

    class Watched:
        cuts = TextTokenizer.cuts

        def encode_batch(self, given, max_tokens):
            reading.append(max_tokens)
            time.sleep(0.05)
            together.append(len(reading))
            reading.pop()
            return tokenizer.encode_batch(given, max_tokens)

    monkeypatch.setattr(texts, "_tokenizer", Watched())
    with ThreadPoolExecutor(2) as threads:
        started = [threads.submit(texts.embed, ["red mug"]), threads.submit(texts.cut_at, "red mug")]
        assert started[0].result().shape == (1, texts.dim) and started[1].result() is None
    assert together == [1, 1]
