import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipeline_lib.optim.freezing import settle_frozen, unfreeze_last
from pipeline_lib.optim.param_groups import build_adamw, split_decay
from pipeline_lib.optim.schedules import set_lr, warmup_cosine
from pipeline_lib.records import LayerGroup


def tower():
    layers = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3), nn.Dropout(0.5))
    groups = [
        LayerGroup("stem", ("0.weight", "0.bias")),
        LayerGroup("norm", ("1.weight", "1.bias")),
        LayerGroup("last", ("2.weight", "2.bias")),
    ]
    return layers, groups


depths = st.one_of(st.integers(0, 5), st.just("all"))


@given(st.lists(depths, min_size=1, max_size=4))
def test_only_the_last_call_counts(calls):
    """Opening and closing in any order leaves exactly what the last depth says."""
    model, groups = tower()
    for depth in calls:
        unfreeze_last(model, groups, depth)
    count = 3 if calls[-1] == "all" else min(3, calls[-1])
    opened = {name for group in groups[3 - count :] for name in group.parameters}
    assert {name for name, value in model.named_parameters() if value.requires_grad} == opened


def test_frozen_norms_keep_their_statistics_and_open_ones_move():
    for depth, moves in ((1, False), (2, True)):
        model, groups = tower()
        unfreeze_last(model, groups, depth)
        model.train()
        settle_frozen(model)
        before = model[1].running_mean.clone()
        model(torch.randn(8, 3) + 5)
        assert (not torch.equal(before, model[1].running_mean)) is moves


def test_a_frozen_tower_has_no_dropout_and_an_open_one_does():
    model, groups = tower()
    unfreeze_last(model, groups, 0)
    model.train()
    settle_frozen(model)
    assert not model[3].training
    unfreeze_last(model, groups, 1)
    model.train()
    settle_frozen(model)
    assert model[3].training


def test_decay_only_for_matrices():
    model, groups = tower()
    unfreeze_last(model, groups, 2)
    decayed, free = split_decay(list(model.named_parameters()), 0.1, 0.05, "text")
    assert [value.ndim for value in decayed["params"]] == [2] and decayed["weight_decay"] == 0.05
    assert {value.ndim for value in free["params"]} == {1} and free["weight_decay"] == 0.0
    assert len(free["params"]) == 3


def test_a_frozen_tower_has_no_optimizer_groups():
    model, groups = tower()
    unfreeze_last(model, groups, 0)
    assert split_decay(list(model.named_parameters()), 0.1, 0.05, "text") == []
    with pytest.raises(ValueError, match="nothing is trainable"):
        build_adamw([])


def test_the_schedule_keeps_the_ratio_of_groups():
    slow, fast = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2, 2))
    optimizer = build_adamw([*split_decay([("a", slow)], 1e-4, 0, "a"), *split_decay([("b", fast)], 1e-2, 0, "b")])
    for step in range(10):
        factor = warmup_cosine(step, 10, 3)
        set_lr(optimizer, factor)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([1e-4 * factor, 1e-2 * factor])


@given(total=st.integers(1, 200), warmup=st.integers(0, 200))
def test_the_schedule_rises_to_one_and_then_falls(total, warmup):
    warmup = min(warmup, total)
    factors = [warmup_cosine(step, total, warmup) for step in range(total)]
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[:warmup] == sorted(factors[:warmup])
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)
    if warmup < total:
        assert factors[warmup] == 1
