"""Triplets, batches and mined negatives: no answer of a query is ever its negative, whatever the tables look like."""

import numpy as np
import polars as pl
import pytest
import torch
from composed_project import composed_params, make_tables
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.losses.composed_contrast import composed_contrast
from pipeline_lib.losses.composed_pairs import ComposedPairs
from pipeline_lib.training.composed.batches import BatchBuilder
from pipeline_lib.training.composed.mining import NONE, ComposedIndex, draw_negatives, mine_negatives
from pipeline_lib.training.composed.triplets import make_triplets, read_composed_data

SCHEMA = {"query_id": pl.String, "reference_product_id": pl.String, "text": pl.String, "subset": pl.List(pl.String)}


def tables(products, queries, answers):
    """Products as (id, group), queries as (id, reference, text), answers as (query, product, grade)."""
    return (
        pl.DataFrame(products, schema=["product_id", "group_id"], orient="row"),
        pl.DataFrame([(*query, []) for query in queries], schema=SCHEMA, orient="row"),
        pl.DataFrame(answers, schema=["query_id", "product_id", "grade"], orient="row"),
    )


def known(products, queries, answers) -> set[tuple[str, str]]:
    """Every (query, product) that is an answer, by loops over the rule of triplets.py."""
    group, found = dict(products), set()
    for query, reference, text in queries:
        for other, other_reference, other_text in queries:
            same = (reference, text) == (other_reference, other_text)
            for answered, product, grade in answers:
                if answered == other and grade > 0 and same:
                    found |= {(query, member) for member in group if group[member] == group[product]}
    return found


@st.composite
def catalogues(draw):
    names = [f"p{number}" for number in range(8)]
    products = [(name, f"g{draw(st.integers(0, 5))}") for name in names]
    pick = st.sampled_from(names)
    queries = [(f"q{n}", draw(pick), draw(st.sampled_from(["red", "blue"]))) for n in range(draw(st.integers(1, 6)))]
    answers = []
    for query, *_ in queries:
        chosen = draw(st.lists(pick, min_size=1, max_size=3, unique=True))
        answers += [(query, product, draw(st.integers(1, 2))) for product in chosen]
    return products, queries, answers


@settings(max_examples=40)
@given(catalogues(), st.integers(0, 5))
def test_targets_and_answers_are_those_of_a_slow_loop(catalogue, epoch):
    products, queries, answers = catalogue
    triplets = make_triplets(*tables(*catalogue))
    expected = known(*catalogue)
    every = np.arange(len(products))
    found = triplets.answered_by(np.arange(len(queries)), every)
    pairs = {(triplets.query_ids[row], triplets.product_ids[column]) for row, column in np.argwhere(found)}
    assert pairs == expected
    drawn = triplets.draw_targets(3, epoch)
    for row, (query, *_) in enumerate(queries):
        own = {product: grade for name, product, grade in answers if name == query}
        best = {product for product, grade in own.items() if grade == max(own.values())}
        assert {triplets.product_ids[number] for number in triplets.targets.row(row)} == best
        assert triplets.product_ids[drawn[row]] in best


class NoStores:
    """A reader that reads nothing: the composition of batches does not depend on features."""

    def references(self, products, texts):
        return None

    def targets(self, products):
        return None


@settings(max_examples=30)
@given(catalogues(), st.integers(1, 4))
def test_a_batch_with_mined_negatives_has_no_answer_as_a_negative(catalogue, size):
    """By the mask, and by the loss: moving the embedding of an answer changes no loss of its query."""
    triplets = make_triplets(*tables(*catalogue))
    expected = known(*catalogue)
    params = composed_params(batch_size=size, mined_negatives=3)
    every = np.arange(len(triplets.product_ids)), np.arange(len(triplets.texts))
    builder = BatchBuilder(triplets, NoStores(), params, *every)
    rng = np.random.default_rng(0)
    index = ComposedIndex(rng.normal(size=(len(triplets), 4)), rng.normal(size=(len(every[0]), 2, 4)))
    targets = triplets.draw_targets(params.seed, 1)
    mined = mine_negatives(index, triplets, targets, 5)
    for rows in builder.epoch(1):
        batch = builder.build(rows, targets, mined, 1)
        assert (batch.products[: len(rows)] == targets[rows]).all()
        for row, query in enumerate(rows):
            for column, product in enumerate(batch.products):
                pair = triplets.query_ids[query], triplets.product_ids[product]
                assert bool(batch.positives[row, column]) == (pair in expected)
        vectors = torch.randn(len(batch.products), 1, 4, requires_grad=True)
        for row in range(len(rows)):
            one = torch.zeros(len(rows), 4)
            one[row] = torch.randn(4)
            loss = composed_contrast(ComposedPairs(one, vectors, torch.tensor(3.0), batch.positives))
            moved = torch.autograd.grad(loss, vectors)[0].abs().sum(dim=(1, 2)) > 0
            others = batch.positives[row].clone()
            others[row] = False
            assert not (moved & others).any()


def test_without_the_mask_every_other_target_is_a_negative():
    triplets = make_triplets(*tables([("a", "a"), ("b", "b")], [("q", "a", "red"), ("r", "a", "red")],
                                     [("q", "b", 1), ("r", "b", 1)]))  # fmt: skip
    params = composed_params(batch_size=2, mask_false_negatives=False)
    builder = BatchBuilder(triplets, NoStores(), params, np.arange(2), np.arange(1))
    assert builder.build(np.arange(2), np.array([1, 1]), None, 0).positives is None


def test_mined_negatives_are_the_reference_then_by_turns_the_ranked_and_the_look_alikes_of_the_target():
    products = [(name, name) for name in "abcdef"]
    triplets = make_triplets(*tables(products, [("q", "a", "red")], [("q", "b", 2), ("q", "c", 1)]))
    queries = np.array([[1.0, 0.0]])
    # The query ranks d, e, f; b's look-alikes are f, then d and e. b and c are answers.
    targets = np.array([[0.0, -1.0], [0.0, 1.0], [1.0, 0.0], [0.9, 0.1], [0.8, 0.0], [0.2, 0.9]])[:, None]
    index = ComposedIndex(queries, targets / np.linalg.norm(targets, axis=2, keepdims=True))
    mined = mine_negatives(index, triplets, np.array([1]), 6)
    assert [triplets.product_ids[row] for row in mined[0] if row != NONE] == ["a", "e", "f", "d"]
    assert mined[0].tolist()[4:] == [NONE, NONE]


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_mining_in_blocks_equals_a_sort_of_all_similarities(monkeypatch, block):
    monkeypatch.setattr("pipeline_lib.training.composed.mining.BLOCK_VALUES", block)
    rng = np.random.default_rng(1)
    count, names = 5, [f"p{number}" for number in range(23)]
    queries = [(f"q{number}", names[number], f"text {number}") for number in range(count)]
    triplets = make_triplets(
        *tables([(n, n) for n in names], queries, [(f"q{n}", names[n + 9], 1) for n in range(count)])
    )
    own, targets = rng.normal(size=(count, 6)), rng.normal(size=(23, 3, 6))
    targets /= np.linalg.norm(targets, axis=2, keepdims=True)
    answer = np.arange(count) + 9
    mined = mine_negatives(ComposedIndex(own, targets), triplets, answer, 8)
    means = targets.mean(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    for row in range(count):
        ranked = np.argsort(-(targets @ own[row]).max(axis=1), kind="stable")
        alike = np.argsort(-(means @ means[answer[row]]), kind="stable")
        turns = [row, *np.stack([ranked[ranked != answer[row]], alike[alike != answer[row]]], axis=1).ravel().tolist()]
        assert mined[row].tolist() == list(dict.fromkeys(turns))[:8]


def test_drawn_negatives_depend_on_seed_epoch_and_query_alone():
    mined = np.array([[1, 2, 3, NONE], [4, NONE, NONE, NONE], [NONE] * 4])
    first = draw_negatives(mined, np.array([0, 1, 2]), 2, seed=5, epoch=1)
    assert first.tolist() == draw_negatives(mined, np.array([2, 1, 0]), 2, seed=5, epoch=1).tolist()
    assert set(first) <= {1, 2, 3, 4} and 4 in first and len(first) == 3
    assert len({tuple(draw_negatives(mined, np.array([0]), 1, 5, epoch)) for epoch in range(20)}) == 3


def write(root, **changes):
    made = make_tables(6) | changes
    for name in ("products", "queries", "relevance"):
        made[name].write_parquet(root / f"{name}.parquet")
    made["folds"].write_parquet(root / "folds.parquet")
    return made


def test_roles_follow_the_folds_and_straddling_queries_are_counted(tmp_path):
    made = write(tmp_path)
    data = read_composed_data(tmp_path, tmp_path, 0)
    assert not data.straddling and [gallery.name for gallery in data.galleries] == ["oof-0", "test"]
    place = dict(made["folds"].select("product_id", pl.col("fold").fill_null(-1)).iter_rows())
    assert {place[key] for key in data.training.product_ids} == {1, 2}
    references = {data.training.product_ids[row] for row in data.training.reference}
    assert references <= set(data.training.product_ids)
    queries = made["queries"].height
    assert len(data.training) + sum(gallery.queries.height for gallery in data.galleries) == queries
    # One target of one query moves to another fold: this query is nowhere, and no other changes.
    moved = made["folds"].with_columns(
        fold=pl.when(pl.col("product_id") == "p0-red-1").then(pl.lit(1, pl.Int64)).otherwise("fold")
    )
    moved.write_parquet(tmp_path / "folds.parquet")
    cut = read_composed_data(tmp_path, tmp_path, 0)
    linked = made["relevance"].filter(pl.col("product_id") == "p0-red-1")["query_id"].n_unique()
    assert cut.straddling == linked > 0
    left = len(cut.training) + sum(gallery.queries.height for gallery in cut.galleries)
    assert left == queries - linked and len(cut.training) == len(data.training)


def test_no_query_to_train_on_says_where_they_come_from(tmp_path):
    made = make_tables(6)
    write(tmp_path, queries=made["queries"].clear(), relevance=made["relevance"].clear())
    with pytest.raises(ValueError, match="no composed query is left to train on, of 0.*data.queries"):
        read_composed_data(tmp_path, tmp_path, 0)
