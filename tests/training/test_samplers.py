"""Mined batches in a run: the first epoch is the shuffle, the next brings together what the model mistakes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_project import TRAIN
from torch.nn import functional

from pipeline_lib.batch import Outputs
from pipeline_lib.loading.dataset import shuffled_batches
from pipeline_lib.loading.products import Products
from pipeline_lib.params.train import TrainParams
from pipeline_lib.training.samplers import SAMPLERS


def make(mining, batch_size=4, count=24):
    texts = ["", *(f"text {number}" for number in range(1, count))]
    rows = np.arange(count)
    products = Products([f"p{row}" for row in rows], texts, rows, rows // 2, rows * 0, rows, rows * 0 + 1)
    changes = {"mining": mining, "batch_size": batch_size, "mining_share": 0.5}
    return SAMPLERS[mining](products, TrainParams.model_validate({**TRAIN, **changes}), 3, "cpu")


def train(orders, order, embedding):
    for _, rows in order:
        products = torch.from_numpy(rows)
        said = Outputs(image_embedding=embedding[products], text_embedding=embedding[products])
        orders.gather(said, [SimpleNamespace(product=products)])


def clusters(count=24, groups=3):
    """Products 0, 3, 6 ... lie close to each other, and so do 1, 4, 7 ..., and 2, 5, 8 ..."""
    centre = torch.eye(8)[torch.arange(count) % groups]
    return functional.normalize(centre + 0.1 * torch.randn(count, 8, generator=torch.Generator().manual_seed(0)), dim=1)


def together(order):
    """The share of pairs in a batch that are of one cluster."""
    same = [np.mean((rows[:, None] % 3 == rows[None, :] % 3)[~np.eye(len(rows), dtype=bool)]) for _, rows in order]
    return float(np.mean(same))


def test_a_shuffle_is_settled_to_the_end_and_mining_for_one_epoch():
    shuffled, mined = make("none"), make("hard")
    assert len(shuffled.coming(1)) == TRAIN["epochs"] - 1 and len(mined.coming(0)) == 1
    for one, other in zip(mined.coming(0)[0], shuffled_batches(24, 4, 3, 0), strict=True):
        assert np.array_equal(one[1], other[1])


def test_who_is_mistaken_for_each_other_meets_in_the_next_epoch():
    orders = make("hard")
    first = orders.coming(0)[0]
    train(orders, first, clusters())
    orders.end_epoch(0)
    (second,) = orders.coming(1)
    assert {epoch for epoch, _ in second} == {1}
    assert sorted(np.concatenate([rows for _, rows in second])) == [*range(24)]
    assert together(second) > together(first) + 0.15


def test_what_is_saved_gives_the_same_batches(tmp_path):
    orders, resumed = make("hard"), make("hard")
    train(orders, orders.coming(0)[0], clusters())
    orders.end_epoch(0)
    torch.save(orders.state(), tmp_path / "state.pt")
    resumed.load_state(torch.load(tmp_path / "state.pt", weights_only=True))
    for one, other in zip(orders.coming(1)[0], resumed.coming(1)[0], strict=True):
        assert one[0] == other[0] and np.array_equal(one[1], other[1])


def test_an_epoch_may_leave_products_out():
    """25 products in batches of 4: whoever was not seen has no strangers and is dealt all the same."""
    orders = make("hard", count=25)
    train(orders, orders.coming(0)[0][:2], clusters(25))
    orders.end_epoch(0)
    dealt = np.concatenate([rows for _, rows in orders.coming(1)[0]])
    assert len(set(dealt.tolist())) == 24


@pytest.mark.parametrize("seen", [[0], []])
def test_an_epoch_without_any_text_mines_nothing(seen):
    orders = make("hard")
    said = torch.zeros(len(seen), 8)
    rows = torch.tensor(seen, dtype=torch.long)
    orders.gather(Outputs(image_embedding=said, text_embedding=said), [SimpleNamespace(product=rows)])
    orders.end_epoch(0)
    for one, other in zip(orders.coming(1)[0], shuffled_batches(24, 4, 3, 1), strict=True):
        assert np.array_equal(one[1], other[1])
