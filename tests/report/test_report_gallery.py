"""Which queries the report shows, and what each card has."""

from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.report.gallery import Gallery, confident_mistakes, spread_sample, worst
from pipeline_lib.report.inputs import read_inputs
from pipeline_lib.report.photos import Thumbnails


def ranked(ranks: list[float]) -> pl.DataFrame:
    return pl.DataFrame({"query_id": [f"q{i}" for i in range(len(ranks))], "rank": ranks})


@given(st.lists(st.integers(1, 50).map(float), min_size=1, max_size=200), st.integers(0, 40), st.integers(0, 5))
def test_the_sample_is_ordered_distinct_and_spread_evenly(ranks, num, seed):
    sample = spread_sample(ranked(ranks), num, seed)
    assert len(sample) == min(num, len(ranks)) == sample["query_id"].n_unique()
    assert sample["rank"].is_sorted()
    hits, share = sum(rank == 1 for rank in ranks), len(sample) / len(ranks)
    assert abs(sum(sample["rank"] == 1) - hits * share) <= 1


def test_the_sample_depends_on_the_seed_and_not_on_the_order_of_rows():
    table = ranked([1.0] * 30 + [7.0] * 30)
    shuffled = table.sample(fraction=1.0, shuffle=True, seed=5)
    assert spread_sample(table, 6, 1).equals(spread_sample(shuffled, 6, 1))
    assert not spread_sample(table, 6, 1).equals(spread_sample(table, 6, 2))


def test_worst_takes_the_lowest_ranks_and_no_hit():
    assert worst(ranked([1.0, 9.0, 2.5, 9.0, 1.0]), 3)["query_id"].to_list() == ["q1", "q3", "q2"]
    assert worst(ranked([1.0, 1.0]), 3).is_empty()


@pytest.fixture
def shown(make_run):
    run = make_run(num_products=56, depth=4, signal=1.0)
    inputs = read_inputs(run.folds, run.root)
    return run, inputs, Thumbnails(inputs.shards, inputs.catalogue.products)


@pytest.mark.parametrize("split", ["test", "oof"])
def test_a_card_expects_a_right_answer_of_its_own_gallery(shown, split):
    run, inputs, photos = shown
    gallery = Gallery(inputs, split, photos)
    gallery_of = {product[0]: (product[4], product[5]) for product in run.products}
    for card in gallery.cards(gallery.ranks):
        assert (card.query_id, card.expected.product_id) in run.rows["relevance"]
        assert gallery_of[card.expected.product_id] == (("test", None) if split == "test" else ("train", card.fold))
        right = [item.rank for item in card.items if item.right]
        assert (right[0] == card.rank) if right else (card.rank > len(card.items))
        assert card.expected.rank == (card.rank if card.rank <= 4 else 0)
        assert [item.rank for item in card.items] == [1, 2, 3, 4]


def test_right_answers_of_other_galleries_do_not_count(shown):
    run, inputs, photos = shown
    shared = [q for q, _ in run.rows["relevance"]]
    assert len(shared) > len(set(shared)), "the made run must have texts of several products"
    for split in ("test", "oof"):
        gallery = Gallery(inputs, split, photos)
        for card in gallery.cards(gallery.ranks):
            here = {p[0] for p in run.products if (p[4] == "test") == (split == "test") and p[5] == card.fold}
            assert card.num_right == sum(q == card.query_id and p in here for q, p in run.rows["relevance"])


def test_mistakes_are_wrong_and_the_most_confident_first(shown):
    run, inputs, photos = shown
    mistakes = confident_mistakes(inputs, "oof", 1000, photos)
    predictions = {row[0]: row for row in run.rows["probabilities"] if row[1] == "oof"}
    assert len(mistakes) == sum(row[3] != row[4] for row in predictions.values())
    confidences = [mistake.probability for mistake in mistakes]
    assert confidences == sorted(confidences, reverse=True)
    for mistake in mistakes:
        row = predictions[mistake.item.product_id]
        assert (mistake.item.label, mistake.predicted) == (row[3], row[4])
        assert mistake.probability == pytest.approx(max(row[5]), abs=1e-6)


def test_a_product_whose_class_its_model_could_not_learn_is_no_mistake(shown):
    """Other products of its class count, and other models predict the class: it is in the table of classes."""
    _, inputs, photos = shown
    first, second = confident_mistakes(inputs, "oof", 2, photos)
    unlearned = pl.col("product_id") == first.item.product_id
    nulls = [pl.when(~unlearned).then(pl.col(name)).alias(name) for name in ("label_probability", "label_rank")]
    scores = inputs.ensemble.scores.with_columns(nulls)
    without = replace(inputs, ensemble=replace(inputs.ensemble, scores=scores))
    assert first.item.label in set(inputs.evaluation.per_class.filter(pl.col("split") == "oof")["label"])
    assert confident_mistakes(without, "oof", 1, photos) == [second]
