"""Mined negatives: the most similar photos that are no right answer of any kind, equal to loops over all pairs."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_project import TRAIN, make_settings, write_project
from torch.nn import functional
from watched_run import run

from pipeline_lib.artifacts.schemas import MINED_SCHEMA
from pipeline_lib.batch import Outputs
from pipeline_lib.loading.captions import with_answers, with_captions
from pipeline_lib.loading.products import Captions, Products
from pipeline_lib.params.train import TrainParams
from pipeline_lib.training.mining import _buckets, _factors, _outwards, hard_negatives
from pipeline_lib.training.right_answers import right_answers
from pipeline_lib.training.samplers import SAMPLERS


def lists(texts_of):
    """Captions of one list a product."""
    counts = [len(texts) for texts in texts_of]
    flat = np.array([text for texts in texts_of for text in texts], dtype=np.int64)
    return Captions(np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]), flat)


def make_products(count, num_texts, seed, captions):
    drawn = np.random.default_rng(seed)
    own, group = drawn.integers(0, num_texts, count), drawn.integers(0, 2 * count, count)
    answers = [sorted(set(drawn.integers(0, num_texts, drawn.integers(0, 3)).tolist())) for _ in range(count)]
    several = [sorted({*texts, int(drawn.integers(0, num_texts))}) for texts in answers]
    rows, texts = np.arange(count), [f"text {number}" for number in range(num_texts)]
    return Products(
        [f"p{row}" for row in rows], texts, own, group, rows * 0, rows, rows * 0 + 1,
        lists(several) if captions else None, lists(answers),
    )  # fmt: skip


def is_right(products, i, j):
    """Whether a photo of one of two products answers a text that the other is trained with, or both are one thing."""

    def trained(product):
        captions = products.captions
        return {int(products.text[product]), *(captions.of_product(product).tolist() if captions else [])}

    def answered(product):
        same = np.flatnonzero(products.group == products.group[product])
        return {text for one in same for text in (*products.answers.of_product(one).tolist(), *trained(one))}

    same_thing = products.group[i] == products.group[j]
    return bool(same_thing or trained(i) & answered(j) or trained(j) & answered(i))


@settings(max_examples=40)
@given(count=st.integers(1, 9), texts=st.integers(1, 20), seed=st.integers(0, 99), captions=st.booleans())
def test_right_answers_equal_a_loop_over_all_pairs_in_blocks(count, texts, seed, captions):
    products = make_products(count, texts, seed, captions)
    drawn = np.random.default_rng(seed)
    rows = drawn.permutation(count)[: drawn.integers(1, count + 1)]
    right = right_answers(products, rows)
    found = set()
    for first in range(0, len(rows), 3):
        for column in range(0, len(rows), 2):
            pairs = right.pairs(slice(first, min(first + 3, len(rows))), slice(column, min(column + 2, len(rows))))
            found |= {(first + int(one), column + int(other)) for one, other in zip(*pairs, strict=True)}
    expected = {(i, j) for i in range(len(rows)) for j in range(len(rows)) if is_right(products, rows[i], rows[j])}
    assert found == expected


def embeddings(count, dim, seed, decay):
    """Embeddings whose coordinates have falling sizes; 1 is no fall, so that no prefix can stand for all."""
    drawn = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(count, dim, generator=drawn) * decay ** torch.arange(dim), dim=1)


def slow_negatives(products, text, image, count):
    found = []
    for i in range(len(text)):
        others = [j for j in range(len(image)) if not is_right(products, i, j)]
        others.sort(key=lambda j: -float(text[i] @ image[j]))
        found.append((others + [-1] * count)[:count])
    return found


@pytest.fixture(params=["fp32", "bf16"])
def bounds(request, monkeypatch):
    """Both precisions of the bounds, whatever this machine has."""
    monkeypatch.setattr("pipeline_lib.training.mining.supports_bf16", lambda device: request.param == "bf16")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(1, 14), seed=st.integers(0, 99), count=st.integers(1, 5), block=st.integers(1, 9),
    rows=st.integers(1, 9), decay=st.sampled_from([1.0, 0.5]),
)  # fmt: skip
def test_hard_negatives_equal_a_loop_in_blocks_of_any_size(bounds, size, seed, count, block, rows, decay):
    products = make_products(size, 3 * size, seed, captions=False)
    text, image = embeddings(size, 40, seed, decay), embeddings(size, 40, seed + 1, decay)
    numbers, similarity = hard_negatives(text, image, right_answers(products, np.arange(size)), count, block, rows)
    assert numbers.tolist() == slow_negatives(products, text, image, count)
    expected = (text[:, None] * image[numbers.clamp(min=0)]).sum(-1).masked_fill(numbers < 0, -torch.inf)
    assert torch.allclose(similarity, expected, atol=1e-5)


@pytest.mark.parametrize("decay", [1.0, 0.9])
@pytest.mark.parametrize("alike", [False, True])
def test_pruned_blocks_equal_the_whole_matrix(bounds, decay, alike):
    """1,500 products: bounds prune all blocks after the first; where the last ones are alike, a block is dense."""
    text, image = embeddings(1500, 64, 0, decay), embeddings(1500, 64, 1, decay)
    if alike:
        text[1100:] = image[1100:] = functional.normalize(image[1100] + 0.01 * image[1100:], dim=1)
    products = make_products(1500, 3000, 2, captions=False)
    right = right_answers(products, np.arange(1500))
    numbers, found = hard_negatives(text, image, right, 8, block=256, rows=200)
    full = text @ image.T
    full[right.pairs(slice(0, 1500), slice(0, 1500))] = -torch.inf
    assert torch.allclose(found, full.topk(8, dim=1).values, atol=1e-5)
    assert torch.allclose(full.gather(1, numbers), found, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("first", [1, 16, 64])
def test_no_bound_is_below_the_similarity(first, dtype):
    text, image = embeddings(300, 64, 0, 0.95), embeddings(300, 64, 1, 0.95) * torch.rand(300, 1) * 3
    factors = (_factors(value, first, dtype, image=role).double() for value, role in ((text, False), (image, True)))
    bound = torch.matmul(*(part if number == 0 else part.T for number, part in enumerate(factors)))
    assert (bound - text.double() @ image.double().T > -1e-6).all()


@pytest.mark.parametrize(("count", "most", "block"), [(1, 4, 2), (30, 4, 100), (31, 5, 3), (64, 8, 8), (5, 1, 2)])
def test_each_bucket_meets_every_column_once_its_own_and_its_neighbours_first(count, most, block):
    order, starts = _buckets(embeddings(count, 6, 0, 1.0), most)
    assert sorted(order.tolist()) == list(range(count))
    assert (starts[0], starts[-1]) == (0, count) and max(np.diff(starts)) <= most
    for bucket in range(len(starts) - 1):
        parts = list(_outwards(starts, bucket, block))
        columns = np.concatenate([np.arange(part.start, part.stop) for part in parts])
        assert sorted(columns) == list(range(count)) and max(part.stop - part.start for part in parts) <= block
        own = range(starts[bucket], starts[bucket + 1])
        assert columns[: len(own)].tolist() == list(own)


def test_no_products_have_no_negatives():
    none = right_answers(make_products(1, 1, 0, captions=False), np.arange(0))
    assert hard_negatives(torch.empty(0, 4), torch.empty(0, 4), none, 3)[0].shape == (0, 3)


@pytest.mark.parametrize("rule", ["first", "random"])
def test_no_mined_pair_of_broad_queries_is_a_right_answer(rule):
    """As in MUGE, a query answers six products, and a product two queries; embeddings are those of a perfect model."""
    count, drawn = 60, np.random.default_rng(0)
    relevance = pl.DataFrame(
        {"query_id": [f"q{query}" for query in range(20) for _ in range(6)],
         "product_id": [f"p{row}" for _ in range(2) for row in drawn.permutation(count)]}
    ).with_columns(grade=pl.lit(1)).unique()  # fmt: skip
    queries = relevance.select("query_id").unique(maintain_order=True)
    queries = queries.with_columns(
        kind=pl.lit("text"), text="text of " + pl.col("query_id"), split=pl.lit(None, pl.String)
    )
    own = relevance.group_by("product_id").agg(pl.col("query_id").min()).sort("product_id")
    texts, rows = queries["text"].to_list(), np.arange(count)
    text = np.array([texts.index(f"text of {query}") for query in own["query_id"]])
    products = Products(own["product_id"].to_list(), texts, text, rows, rows * 0, rows, rows * 0 + 1)
    if rule == "random":
        products = with_captions(products, queries, relevance)
    products = with_answers(products, queries, relevance)
    answered = [set(products.answers.of_product(row).tolist()) for row in range(count)]
    meaning = functional.normalize(torch.randn(len(texts), 8, generator=torch.Generator().manual_seed(0)), dim=1)
    image = functional.normalize(torch.stack([meaning[sorted(known)].mean(0) for known in answered]), dim=1)
    sampler = SAMPLERS["hard"](products, TrainParams.model_validate({**TRAIN, "mining": "hard", "text": rule}), "cpu")
    number = torch.from_numpy(products.text)
    step = SimpleNamespace(product=torch.arange(count), text=number, has_text=torch.ones(count, dtype=torch.bool))
    sampler.record(Outputs(image_embedding=image, text_embedding=meaning[number]), [step])
    sampler.end_epoch(0)
    mined = sampler.mined_set()
    assert mined.height > 8 * count and mined.columns == list(MINED_SCHEMA)
    place = {key: row for row, key in enumerate(products.ids)}
    for text, negative in mined.select("text", "negative_id").iter_rows():
        assert products.texts.index(text) not in answered[place[negative]], (text, negative)


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning")
@pytest.mark.usefixtures("isolated")
def test_a_run_writes_what_it_mined(towers, tmp_path):
    inputs = write_project(tmp_path / "project")
    out = run(make_settings(*towers, mining="hard", epochs=2), inputs, "out")
    mined = pl.read_parquet(out / "mined.parquet")
    assert dict(mined.schema) == MINED_SCHEMA and set(mined["epoch"]) == {0}
    relevance = pl.read_parquet(inputs.catalogue / "relevance.parquet")
    wrong = mined.join(relevance, left_on=["negative_id"], right_on=["product_id"])
    assert len(wrong) and wrong.filter(pl.col("query_id") == "q " + pl.col("text")).is_empty()
    ordered = mined.group_by("product_id", maintain_order=True).agg("rank", "similarity")
    for rank, similarity in ordered.select("rank", "similarity").iter_rows():
        assert rank == [*range(1, len(rank) + 1)] and similarity == sorted(similarity, reverse=True)
    one = run(make_settings(*towers, mining="hard", epochs=1), inputs, "one")
    assert pl.read_parquet(one / "mined.parquet").is_empty()
    assert not (run(make_settings(*towers, epochs=1), inputs, "none") / "mined.parquet").exists()
