import numpy as np
import polars as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.batch import Batch
from pipeline_lib.loading.captions import answered_texts, draw_captions, with_captions
from pipeline_lib.loading.products import Captions, Products
from pipeline_lib.losses.pairs import false_negatives
from pipeline_lib.training.grad_cache import join_batches


def products(*texts):
    """Return one product for each text, with ids p0, p1, ..., and without captions."""
    count = len(texts)
    known = list(dict.fromkeys(texts))
    numbers = np.array([known.index(text) for text in texts])
    zeros = np.zeros(count, np.int64)
    return Products([f"p{i}" for i in range(count)], known, numbers, np.arange(count), zeros, zeros, zeros + 1)


QUERIES = pl.DataFrame(
    {
        "query_id": ["q0", "q1", "q2", "q3", "q4", "q5"],
        "kind": ["text", "text", "text", "image", "text", "text"],
        "text": ["red mug", "a cup", "red mug", "", "held out", "wide"],
        "split": [None, "train", "train", None, "val", "train"],
    }
)
RELEVANCE = pl.DataFrame(
    [("q0", "p0", 1), ("q1", "p0", 1), ("q2", "p0", 2), ("q3", "p0", 1), ("q4", "p1", 1), ("q5", "p0", 1),
     ("q5", "p2", 1), ("q1", "p2", 0), ("q1", "elsewhere", 1)],
    schema=["query_id", "product_id", "grade"], orient="row",
)  # fmt: skip


def test_a_product_has_the_texts_of_all_queries_it_answers_each_once():
    result = with_captions(products("red mug", "blue hat", ""), QUERIES, RELEVANCE)
    texts = [[result.texts[number] for number in result.captions.of_product(product)] for product in range(3)]
    assert [sorted(own) for own in texts] == [
        ["a cup", "red mug", "wide"],  # equal texts count once
        ["blue hat"],  # its only query is in the val split
        ["wide"],  # grade 0 does not count, and the product has no text of its own
    ]
    assert result.texts[:3] == ["red mug", "blue hat", ""] and result.text.tolist() == [0, 1, 2]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 50), st.integers(0, 3))
@settings(max_examples=40)
def test_n_epochs_use_each_of_n_texts_once(sizes, seed, skipped_rounds):
    first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    captions = Captions(first, np.arange(first[-1]))
    for row, size in enumerate(sizes):
        epochs = range(skipped_rounds * size, (skipped_rounds + 1) * size)
        drawn = [int(draw_captions(captions, np.array([row]), seed, epoch)[0]) for epoch in epochs]
        assert sorted(drawn) == captions.of_product(row).tolist()


def test_a_draw_depends_on_seed_epoch_and_row_only():
    captions = Captions(np.arange(0, 401, 4), np.arange(400))
    rows = np.arange(100)
    drawn = draw_captions(captions, rows, 7, 2)
    assert np.array_equal(drawn[[90, 3]], draw_captions(captions, np.array([90, 3]), 7, 2))
    assert not np.array_equal(drawn, draw_captions(captions, rows, 8, 2))
    assert len(set((drawn % 4).tolist())) == 4


def test_a_text_that_another_product_answers_is_not_its_negative():
    captions = Captions(np.array([0, 2, 4, 5]), np.array([0, 1, 1, 2, 3]))
    rows, texts = np.array([0, 1, 2]), np.array([1, 2, 3])
    answers = answered_texts(captions, rows)
    assert answers.tolist() == [[0, 1], [1, 2], [3, -1]]
    numbers = torch.from_numpy(rows)
    every = {"product": numbers, "group": numbers, "label": numbers, "has_text": numbers >= 0}
    batch = Batch(text=torch.from_numpy(texts), answers=torch.from_numpy(answers), **every)
    # Product 1 also answers text 1, which was drawn for product 0.
    assert false_negatives(batch).tolist() == [[True, False, False], [True, True, False], [False, False, True]]


def test_joined_batches_have_the_answers_of_all_products():
    """A product may answer a text of another accumulated batch; shorter lists are padded."""

    def batch(row, text, answers):
        number = torch.tensor([row])
        every = {"product": number, "group": number, "label": number, "has_text": number >= 0}
        return Batch(text=torch.tensor([text]), answers=torch.tensor([answers]), **every)

    joined = join_batches([batch(0, 1, [0, 1, 5]), batch(1, 5, [5])])
    assert joined.answers.tolist() == [[0, 1, 5], [5, -1, -1]]
    assert false_negatives(joined).tolist() == [[True, True], [False, True]]
