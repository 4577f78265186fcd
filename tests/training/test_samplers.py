"""Batch samplers: a shuffle for the whole run, or batches mined after each epoch from the most similar negatives."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_project import TRAIN
from torch.nn import functional

from pipeline_lib.batch import Outputs
from pipeline_lib.loading.dataset import shuffled_batches
from pipeline_lib.loading.products import Products
from pipeline_lib.params.train import TrainParams
from pipeline_lib.training.samplers import SAMPLERS, mined_batches, without_lone_row


def make(mining, batch_size=4, count=24):
    texts = ["", *(f"text {number}" for number in range(1, count))]
    rows = np.arange(count)
    products = Products([f"p{row}" for row in rows], texts, rows, rows // 2, rows * 0, rows, rows * 0 + 1)
    changes = {"mining": mining, "batch_size": batch_size, "mining_share": 0.5}
    return SAMPLERS[mining](products, TrainParams.model_validate({**TRAIN, **changes}), "cpu")


def train(sampler, batches, embedding):
    """Record the outputs of an epoch of training steps."""
    for _, rows in batches:
        products = torch.from_numpy(rows)
        outputs = Outputs(image_embedding=embedding[products], text_embedding=embedding[products])
        sampler.record(outputs, [step_of(products)])


def step_of(products):
    """What the sampler reads of a batch: product 0 has no text."""
    return SimpleNamespace(product=products, text=products, has_text=products > 0)


def clusters(count=24, groups=3):
    """Products 0, 3, 6 ... are close to each other, and so are 1, 4, 7 ..., and 2, 5, 8 ..."""
    centre = torch.eye(8)[torch.arange(count) % groups]
    return functional.normalize(centre + 0.1 * torch.randn(count, 8, generator=torch.Generator().manual_seed(0)), dim=1)


def share_of_one_cluster(batches):
    """The share of pairs in a batch that are of one cluster."""
    same = [np.mean((rows[:, None] % 3 == rows[None, :] % 3)[~np.eye(len(rows), dtype=bool)]) for _, rows in batches]
    return float(np.mean(same))


def test_a_shuffle_is_known_for_all_epochs_and_mined_batches_for_one():
    shuffled, mined = make("none"), make("hard")
    assert len(shuffled.upcoming(1)) == TRAIN["epochs"] - 1 and len(mined.upcoming(0)) == 1
    for one, other in zip(mined.upcoming(0)[0], shuffled_batches(24, 4, 3, 0), strict=True):
        assert np.array_equal(one[1], other[1])


def test_similar_products_share_a_batch_in_the_next_epoch():
    sampler = make("hard")
    first = sampler.upcoming(0)[0]
    train(sampler, first, clusters())
    sampler.end_epoch(0)
    (second,) = sampler.upcoming(1)
    assert {epoch for epoch, _ in second} == {1}
    assert sorted(np.concatenate([rows for _, rows in second])) == [*range(24)]
    assert share_of_one_cluster(second) > share_of_one_cluster(first) + 0.15


def test_a_saved_state_gives_the_same_batches(tmp_path):
    sampler, resumed = make("hard"), make("hard")
    train(sampler, sampler.upcoming(0)[0], clusters())
    sampler.end_epoch(0)
    torch.save(sampler.state(), tmp_path / "state.pt")
    resumed.load_state(torch.load(tmp_path / "state.pt", weights_only=True))
    for one, other in zip(sampler.upcoming(1)[0], resumed.upcoming(1)[0], strict=True):
        assert one[0] == other[0] and np.array_equal(one[1], other[1])


@pytest.mark.parametrize(
    ("count", "size", "accumulate", "steps"),
    [(9, 1, 4, [4, 4]), (10, 1, 4, [4, 4, 2]), (1, 1, 4, [1]), (9, 2, 3, [6, 2]), (5, 1, 1, [1] * 5)],
)
def test_a_last_step_of_one_product_is_left_out_unless_it_is_the_only_one(count, size, accumulate, steps):
    batches = without_lone_row(shuffled_batches(count, size, 0, 0), accumulate)
    starts = range(0, len(batches), accumulate)
    assert [sum(len(rows) for _, rows in batches[start : start + accumulate]) for start in starts] == steps


def test_an_epoch_may_leave_products_out():
    """25 products in batches of 4: a product without a recorded embedding has no negatives, and is in a batch too."""
    sampler = make("hard", count=25)
    train(sampler, sampler.upcoming(0)[0][:2], clusters(25))
    sampler.end_epoch(0)
    rows = np.concatenate([rows for _, rows in sampler.upcoming(1)[0]])
    assert len(set(rows.tolist())) == 24


@pytest.mark.parametrize("recorded", [[0], []])
def test_an_epoch_without_any_text_mines_nothing(recorded):
    sampler = make("hard")
    embedding = torch.zeros(len(recorded), 8)
    rows = torch.tensor(recorded, dtype=torch.long)
    sampler.record(Outputs(image_embedding=embedding, text_embedding=embedding), [step_of(rows)])
    sampler.end_epoch(0)
    for one, other in zip(sampler.upcoming(1)[0], shuffled_batches(24, 4, 3, 1), strict=True):
        assert np.array_equal(one[1], other[1])


def random_negatives(count, num_negatives, seed):
    negatives = np.random.default_rng(seed).integers(-1, count, (count, num_negatives))
    negatives[negatives == np.arange(count)[:, None]] = -1
    return negatives


@settings(max_examples=40)
@given(count=st.integers(1, 40), size=st.integers(1, 12), share=st.floats(0, 0.99), seed=st.integers(0, 20))
def test_mined_batches_are_as_many_as_shuffled_ones_and_have_each_product_at_most_once(count, size, share, seed):
    batches = mined_batches(random_negatives(count, 3, seed), size, share, seed, 4)
    plain = shuffled_batches(count, size, seed, 4)
    assert [(epoch, len(rows)) for epoch, rows in batches] == [(epoch, len(rows)) for epoch, rows in plain]
    rows = np.concatenate([rows for _, rows in batches])
    assert len(set(rows.tolist())) == len(rows)


def test_without_a_share_or_without_negatives_mined_batches_are_the_shuffle():
    plain = shuffled_batches(20, 6, 3, 1)
    none = np.full((20, 3), -1)
    for batches in (mined_batches(random_negatives(20, 3, 0), 6, 0.0, 3, 1), mined_batches(none, 6, 0.5, 3, 1)):
        assert all(np.array_equal(one[1], other[1]) for one, other in zip(batches, plain, strict=True))


def test_the_first_negatives_of_all_anchors_come_first_and_used_rows_are_skipped():
    """Batches of 4, half mined. An anchor's first negative is its neighbour in a ring, the second the one after."""
    count = 12
    ring = np.stack([(np.arange(count) + 1) % count, (np.arange(count) + 2) % count], axis=1)
    used = set()
    for _, rows in mined_batches(ring, 4, 0.5, 5, 0):
        anchors, negatives = rows[:2].tolist(), rows[2:].tolist()
        used |= set(anchors)
        expected = [(one + step) % count for step in (1, 2) for one in anchors]
        free = [one for number, one in enumerate(expected) if one not in used and one not in expected[:number]][:2]
        assert negatives[: len(free)] == free
        used |= set(negatives)


@pytest.mark.parametrize("other", [(8, 1), (7, 2)])
def test_mined_batches_follow_from_seed_and_epoch(other):
    negatives = random_negatives(30, 4, 0)
    one, same = mined_batches(negatives, 5, 0.4, 7, 1), mined_batches(negatives, 5, 0.4, 7, 1)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(one, same, strict=True))
    third = mined_batches(negatives, 5, 0.4, *other)
    assert any(not np.array_equal(a[1], b[1]) for a, b in zip(one, third, strict=True))
